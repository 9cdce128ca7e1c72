"""Stands in for aggregator."""

import sys

from services.standin import run

if __name__ == "__main__":
    sys.exit(run("aggregator"))
