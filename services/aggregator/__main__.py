"""`python -m services.aggregator`: run the aggregator service."""

from services.aggregator.shell import build
from shared.runtime import main

if __name__ == "__main__":
    raise SystemExit(main("aggregator", build))
