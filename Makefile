# The README's two commands are `make demo` and `make test`; both set themselves up.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Files in the order of tests/conftest.py: those that wait for whole stacks first, else one of them is left alone at the end.
PYTEST := --numprocesses 4 --dist loadfile --no-loadscope-reorder
# What only `make infrastructure` runs, is left out.
QUICK := -m "not infrastructure"
# Each worker of pytest and each process of a stack would else compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand --tabs=16

.PHONY: help setup browser demo up test infrastructure steady lint types chaos bench pictures audit clean

setup: $(READY)  ## create .venv with everything that tests and tools need

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Rushes needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)  ## everything on this machine, one job through each gateway's sandbox
	$(BIN)/rushes demo $(DEMO)

up: $(READY)  ## the same stack, kept up, with the console's address
	$(BIN)/rushes up

lint: $(READY)  ## ruff, formatting, types and the map of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

types: $(READY)  ## types alone
	$(BIN)/mypy

# The console's tests drive a real browser: Debian's Chromium, and best its shell without windows, which needs half of the
# time. Without root it has to be there already.
BROWSERS := chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable
INSTALL_BROWSER := apt-get -qq install -y --no-install-recommends
browser:  ## install Chromium's headless shell for the console's tests (Debian, as root)
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { $(INSTALL_BROWSER) chromium-headless-shell >/dev/null 2>&1 || \
	      { apt-get -qq update && \
	        { $(INSTALL_BROWSER) chromium-headless-shell >/dev/null 2>&1 || $(INSTALL_BROWSER) chromium >/dev/null; }; }; } || \
	  echo "no Chromium: install chromium-headless-shell or chromium to run the console's browser tests"

# Lint goes on beside the tests, and what it says stands at the end. In a fresh clone the files of the tests are compiled
# once before, else each of pytest's processes does all of them.
test: $(READY) browser  ## lint and every test but the stacks on servers of others
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	$(MAKE) --no-print-directory lint >.venv/lint.txt 2>&1 & lint=$$!; \
	trap 'kill $$lint 2>/dev/null' EXIT; \
	[ -d tests/__pycache__ ] || python -m pytest --collect-only --quiet --numprocesses 0 >/dev/null; \
	python -m pytest $(PYTEST) $(QUICK) --durations=10; tests=$$?; \
	wait $$lint; linted=$$?; trap - EXIT; echo; cat .venv/lint.txt; \
	[ $$tests = 0 ] || echo "test: the tests failed" >&2; [ $$linted = 0 ] || echo "test: lint failed" >&2; \
	[ $$tests$$linted = 00 ]

infrastructure: $(READY)  ## get servers that Rushes may meet (Debian, as root), and run it on them
	PYTHON=$(PYTHON) tests/infrastructure/install.sh
	PATH="$(CURDIR)/.infrastructure/bin:$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST) --durations=10 tests/infrastructure

steady: $(READY) browser  ## the tests REPEAT times as they are, beside LOAD busy processes, and on one core: TESTS
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.steady $(PYTEST) $(QUICK) $(TESTS)

# What `make test` does for seconds, for as long as you like: SEEDS, SEED, JOBS, SECONDS.
chaos: $(READY)  ## what `make test` searches for seconds, for as long as you like: SEEDS, SEED, JOBS, SECONDS
	CHAOS=1 CHAOS_SEEDS=$(or $(SEEDS),4000) CHAOS_SEED=$(or $(SEED),0) PATH="$(CURDIR)/$(BIN):$$PATH" \
	  $(BIN)/python -m pytest tests/chaos -rP --numprocesses 2 --deselect tests/chaos/test_processes.py
	CHAOS_JOBS=$(or $(JOBS),300) CHAOS_SECONDS=$(or $(SECONDS),300) CHAOS_SEED=$(or $(SEED),0) \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/chaos/test_processes.py -s -n 0

bench: $(READY)  ## measure, side by side with programs written by hand: BENCH
	$(BIN)/python -m benchmarks.run $(BENCH)

pictures: $(READY)  ## take the pictures of the README anew
	$(BIN)/python -m rushes.deploy.sandbox.screenshots

# Known holes in what is installed; in an environment of its own, so that the audit is no dependency.
audit: $(READY)  ## known vulnerabilities in the installed packages
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .audit/installed.txt
	.audit/bin/pip-audit --strict --no-deps --disable-pip -r .audit/installed.txt

clean:  ## remove all that these targets made
	rm -rf .venv .audit .infrastructure .rushes rushes-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
