# `make help` lists what can be done; every target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
NODE_MODULES := $(addsuffix /node_modules/.package-lock.json,tests/js clients/js)

.PHONY: help run test lint format bench floods

help: ## List the targets.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: .venv/run ## Serve the scoreboard on http://127.0.0.1:5000 with SQLite.
	$(BIN)/python wsgi.py

test: .venv/dev $(if $(shell command -v npm),$(NODE_MODULES)) ## Run the tests.
	$(BIN)/python -m pytest $(TESTS)

lint: .venv/dev ## Check format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy scoreboard config.py wsgi.py

bench: .venv/dev ## Measure what the README tells of speed, and updates while Redis is away.
	$(BIN)/python -m bench
	$(BIN)/python -m bench.ranks
	$(BIN)/python -m bench.redis_away

floods: .venv/dev ## Flood the server, and tell what others notice and when all is let go of.
	$(BIN)/python -m stress.floods

format: .venv/dev ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/run: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch .venv/run $@

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-fund --no-audit
	touch $@
