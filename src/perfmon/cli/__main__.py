"""`python -P -m perfmon.cli`: the command line where no script is installed beside the interpreter."""

from perfmon.cli import main

if __name__ == "__main__":
    main()
