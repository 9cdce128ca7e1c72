"""`python -P -m perfmon.wrap [--name N] [--data DIR] -- <command…>`."""

import sys

from perfmon.wrap.proxy import main

main(sys.argv[1:])
