"""`python -m services.watchdog`, run by supervisord as an event listener."""

import sys

from services.watchdog.shell import main

if __name__ == "__main__":
    sys.exit(main())
