# make setup   everything that running and testing need, in .venv
# make run     the pipeline in the foreground; says where it listens and how Claude Code is told of it
# make test    what must pass before a commit
# make demo    a minute of calls to real public MCP servers with a fault in the middle, and what the monitor says of it
# make chaos   kill -9 and faults under load, then docs/reliability.md (with CHAOS_ROUNDS=2 short, and the page goes to .chaos)
# make bench   the figures; some of them: make bench BENCH="ingest --runs 1 --seconds 10" (docs/benchmarks.md)

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.made
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTHON  ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PYTEST  ?= $(BIN)/pytest
WORKERS ?= 2

DEMO_SERVERS := .demo/servers

.PHONY: setup run demo test lint types unit chaos bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer with its venv module is needed" \
		"(Debian: apt-get install python3 python3-venv); or say which: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11" >&2; exit 1; }
	@echo "installing into $(VENV), about 20 s"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: $(PYTHON) cannot make virtual environments (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(INSTALL) --upgrade pip && $(INSTALL) --editable '.[test]' || { \
		echo "make: the installation into $(VENV) failed, see above; run make again once that is mended" >&2; exit 1; }
	@touch $(STAMP)

run: setup
	@exec $(BIN)/perfmon run

demo: setup $(DEMO_SERVERS)/.made
	@$(BIN)/python -m bench.demo --servers $(DEMO_SERVERS)

PUBLIC_NODE := .demo/node
NODE_PRODUCER := .demo/node-producer
NODE_SERVER := @modelcontextprotocol/server-everything@2026.8.31

# The public servers need versions of their own, so they get an environment of their own.
$(DEMO_SERVERS)/.made: bench/demo/servers.txt | setup
	@echo "installing the public MCP servers into $(DEMO_SERVERS), once"
	@"$(PYTHON)" -m venv $(DEMO_SERVERS)
	@$(DEMO_SERVERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/demo/servers.txt
	@touch $@

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

unit: setup $(DEMO_SERVERS)/.made $(PUBLIC_NODE)/.made $(NODE_PRODUCER)/.made
	$(BIN)/python -m tests.kit.kernels
	PERFMON_PUBLIC_SERVERS=.demo $(PYTEST) -n $(WORKERS) --dist worksteal -m "not chaos" tests

# A Node server where there is npm; its test skips itself where there is none.
$(PUBLIC_NODE)/.made: Makefile | setup
	@mkdir -p $(PUBLIC_NODE)
	@if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --prefix $(PUBLIC_NODE) $(NODE_SERVER); fi
	@touch $@

# What the Node producer of the contract tests needs, likewise.
$(NODE_PRODUCER)/.made: tests/contract/producer/node/package.json | setup
	@mkdir -p $(NODE_PRODUCER)
	@cp tests/contract/producer/node/package.json $(NODE_PRODUCER)/
	@if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock --prefix $(NODE_PRODUCER); fi
	@touch $@

# A short run must not replace the figures of a full one.
RELIABILITY := $(if $(CHAOS_ROUNDS),.chaos,docs)/reliability.md

chaos: setup
	@rm -rf .chaos
	@$(PYTEST) -m chaos tests/chaos; status=$$?; $(BIN)/python -m tests.chaos.report $(RELIABILITY); exit $$status

bench: setup
	$(BIN)/python -m bench $(BENCH)

clean:
	rm -rf $(VENV) .demo .chaos build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
