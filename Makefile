# Each target first makes what it needs: the virtual environment .venv and, for targets that start
# servers, Debian packages. As root on Debian or Ubuntu missing packages are installed; elsewhere
# the target stops with one line that says what to install.
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo playground docs unit test check format bench storm fuzz matrix dist sbom clean
PYTHON ?= python3
BIN := .venv/bin

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.system-demo .venv/.ready ## Run one job on powered-down nodes: real Slurm and RabbitMQ, simulated cloud
	$(BIN)/python -m demo

playground: .venv/.system-demo .venv/.ready ## Keep the demo's cluster running, with the console; Ctrl-C ends all
	$(BIN)/python -m demo.playground

docs: .venv/.ready ## Write the generated pages and build the documentation in build/site; links are checked
	$(BIN)/python -m docs.generate
	$(BIN)/mkdocs build --strict

unit: .venv/.ready ## Run the fast unit tests: no servers, no system packages
	$(BIN)/python -m pytest -n 3 -m 'not slow' --hypothesis-profile=quick tests/unit

test: .venv/.system-test .venv/.ready ## Run all tests; TESTS=PATH runs some; STORE=postgresql: with the stores there
	$(STORE:%=LAMPLIGHTER_TEST_STORE=%) $(BIN)/python -m pytest -n 5 --no-loadscope-reorder $(TESTS)

check: .venv/.ready ## Check layout, lint rules, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready ## Apply layout and automatic lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.system-test .venv/.ready ## Run the benchmarks, against baselines of the same run; write docs/performance.md
	$(BIN)/python -m benchmarks

storm: .venv/.system-test .venv/.ready ## Random faults and jobs, then all promises checked: MINUTES=5 SEED=1 BROKERS=3 STORE=postgresql
	$(BIN)/python -m storm $(MINUTES:%=--minutes %) $(SEED:%=--seed %) $(NODES:%=--nodes %) $(BROKERS:%=--brokers %) $(STORE:%=--store %)

fuzz: .venv/.ready ## Feed the parsers with random input, for an hour or MINUTES=5
	$(BIN)/python -m tests.testbed.fuzz $(MINUTES:%=--minutes %)

matrix: ## Run all tests on Debian 12 and 13 x SQLite, PostgreSQL, in chroots (root); SUITES, STORES, TESTS
	tests/install/matrix.sh $(or $(SUITES),bookworm trixie)

dist: .venv/.ready ## Build wheel and sdist; try the wheel in an empty environment
	rm -rf dist build/wheel-test
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/wheel-test
	build/wheel-test/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	.ci/try-wheel build/wheel-test/bin

sbom: .venv/.ready ## Write the software bill of materials (CycloneDX) of the image's Python packages to dist/sbom.json
	rm -rf build/sbom build/sbom-tool && mkdir -p dist
	$(PYTHON) -m venv --without-pip build/sbom
	$(PYTHON) -m venv --without-pip build/sbom-tool
	$(BIN)/pip --python build/sbom install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip --python build/sbom install --quiet --disable-pip-version-check --no-compile --no-deps .
	$(BIN)/pip --python build/sbom-tool install --quiet --disable-pip-version-check --no-compile 'cyclonedx-bom>=7,<8'
	build/sbom-tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.json build/sbom/bin/python
	$(BIN)/python -m tests.testbed.sbom dist/sbom.json

clean: ## Remove all that these targets made; name what has to stay
	@$(PYTHON) -m tests.testbed.clean

.venv/.system-%: tests/testbed/install.py tests/testbed/openstack/system.py
	$(PYTHON) -m tests.testbed.install $*
	@mkdir -p .venv && touch $@

.venv/.ready: pyproject.toml
	@echo "Setting up .venv from pyproject.toml"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
