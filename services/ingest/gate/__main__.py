"""`python -m services.ingest.gate`: run the gate; ingest starts it."""

from services.ingest.gate.shell import NAME, build
from shared.runtime import main

if __name__ == "__main__":
    raise SystemExit(main(NAME, build))
