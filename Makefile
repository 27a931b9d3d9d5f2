# `make run` and `make test` are all the set-up there is. Both may be repeated: what is installed already stays.
#
#   PYTHON=python3.12   the interpreter to build on (default: the first of the usual names that is >= 3.11)
#   VENV=.venv          where the virtual environment goes
#   JOBS=2              worker processes
#   SCALE=quick         how much `make run` measures: quick, paper or full
VENV ?= .venv
JOBS ?= 2
SCALE ?= quick
CANDIDATES = python3 python python3.13 python3.12 python3.11
ifndef PYTHON
PYTHON := $(shell for p in $(CANDIDATES); do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; \
	done)
endif
BIN = $(VENV)/bin
PIP = "$(BIN)/python" -m pip install --disable-pip-version-check --quiet

.PHONY: help run test lint images clean
help:
	@echo "make run     install, and check every claim at quick scale: a table, and figures in rebel-results/figures"
	@echo "make test    install, and run the tests"
	@echo "make lint    install, and check format, style, types and layers"
	@echo "make images  draw the figures of the README again"
	@echo "make clean   remove $(VENV) and the caches"

run: $(VENV)/.ready-run
	"$(BIN)/rebel-theory" verify --scale $(SCALE) --workers $(JOBS)

test: $(VENV)/.ready-test
	"$(BIN)/python" -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.ready-test
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

images: $(VENV)/.ready-test
	"$(BIN)/python" docs/make_images.py

# The environment is made anew each time: on one that is whole this changes nothing, and it mends one that was
# interrupted.
$(VENV)/.ready-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with venv and pip among: $(CANDIDATES)." \
		"Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "installing into $(VENV) (a minute or so, once)"
	@"$(PYTHON)" -m venv "$(VENV)"
	@$(PIP) --editable ".[$(if $(filter run,$*),icu,test)]"
	@touch "$@"

clean:
	rm -rf -- "$(VENV)" build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find rebel_theory envs benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
