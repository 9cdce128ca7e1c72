"""`python -m services.alerter`."""

import sys

from services.alerter.shell.service import build
from shared.runtime.service import main

if __name__ == "__main__":
    sys.exit(main("alerter", build))
