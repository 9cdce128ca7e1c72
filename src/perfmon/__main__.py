"""`python -m perfmon`: the command line."""

from perfmon.cli import main

if __name__ == "__main__":
    main()
