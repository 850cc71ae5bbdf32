# Needs Python 3.11+ and make; everything else is brought along. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
ARGS ?=
VENV := .venv
PYTHON := $(VENV)/bin/python
BASE_PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input -q
CLI := $(PYTHON) -m app.cli.main

.PHONY: help demo dev test check bench docs fmt clean install install-dev

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## Everything on this machine with demo data (ARGS='--port 9000', ARGS=--check)
	@$(CLI) demo $(ARGS)

dev: install ## The demo, restarting the web server when the code changes
	@$(CLI) dev $(ARGS)

test: install-dev ## Every check and every test, in parallel, on a database of its own (ARGS='-k money')
	@$(PYTHON) -m tests.support.everything $(ARGS)

check: install-dev ## Fast: style, types, floors, templates, migrations
	@$(PYTHON) -m tests.support.checks

bench: install-dev ## Measure; every number as a ratio to a floor measured in the same run
	@$(PYTHON) -m bench $(ARGS)

docs: install ## Write the generated parts of the documents
	@$(CLI) docs

fmt: install-dev ## Format the code and the templates
	@$(VENV)/bin/ruff check --fix-only -q . ; $(VENV)/bin/ruff format -q .

clean: ## Remove the virtual environment and the caches; the demo's data in var/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.created:
	@test -n "$(BASE_PYTHON)" || { echo "Countinghouse needs Python 3.11 or newer; none was found on the PATH." >&2; exit 1; }
	@echo "Making a virtual environment with $$($(BASE_PYTHON) --version)"
	@$(BASE_PYTHON) -m venv $(VENV)
	@# The checkout itself is put on the path: nothing to build, so no build tools to fetch.
	@$(PYTHON) -c 'import os, pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "countinghouse.pth").write_text(os.getcwd() + "\n")'
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m app.cli.main "$$@"\n' > $(VENV)/bin/countinghouse && chmod +x $(VENV)/bin/countinghouse
	@touch $@

$(VENV)/.installed: requirements.lock | $(VENV)/.created
	@echo "Installing the locked dependencies (the first time takes a minute)"
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock | $(VENV)/.created
	@echo "Installing the locked dependencies and the tools of the tests"
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@ $(VENV)/.installed
