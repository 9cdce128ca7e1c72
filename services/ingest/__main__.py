"""`python -m services.ingest`: run the ingest service."""

from services.ingest.shell import build
from shared.runtime import main

if __name__ == "__main__":
    raise SystemExit(main("ingest", build))
