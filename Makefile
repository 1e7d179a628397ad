# Everything sets itself up: the virtual environment, and with it the broker, Slurm and what else
# is missing where this may be installed; elsewhere one line says what to install.
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench format clean
PYTHON ?= python3
BIN := .venv/bin

help: ## What there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.system .venv/.ready ## The whole story, live: a job wakes two nodes on real Slurm and RabbitMQ
	$(BIN)/python -m demo

test: .venv/.system .venv/.ready ## Every test but the big volumes
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(TESTS)

check: .venv/.ready ## Lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.system .venv/.ready ## The big volumes, as ratios against a baseline
	$(BIN)/python -m benchmarks

format: .venv/.ready ## Rewrite layout and imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the targets above have made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/.system: tests/testbed/install.py
	$(PYTHON) -m tests.testbed.install
	@mkdir -p .venv && touch $@

.venv/.ready: pyproject.toml
	@echo "Setting up .venv with what pyproject.toml names"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
