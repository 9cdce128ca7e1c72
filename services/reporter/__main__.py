"""`python -m services.reporter`."""

import sys

from services.reporter.shell import build
from shared.runtime.service import main

sys.exit(main("reporter", build))
