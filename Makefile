# `make help` lists what can be done; every target sets up what it needs.
PYTHON ?= python3
MINUTES ?= 60
BIN := .venv/bin
SECONDS ?= 60
NODE_MODULES := $(addsuffix /node_modules/.package-lock.json,tests/js clients/js)

.PHONY: help run test lint audit bench kills floods fuzz soak format

help: ## List the targets.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: .venv/run ## Serve the scoreboard on http://127.0.0.1:5000 with SQLite.
	$(BIN)/python wsgi.py

test: .venv/dev $(if $(shell command -v npm),$(NODE_MODULES)) ## Run the tests.
	$(BIN)/python -m pytest $(TESTS)

lint: .venv/dev ## Check format, style, types and what is known to be unsafe.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy scoreboard config.py wsgi.py
	$(BIN)/bandit --quiet --recursive scoreboard config.py wsgi.py migrations

audit: .venv/dev ## Ask the network whether a package is known to be vulnerable.
	$(BIN)/python -m stress.audit

bench: .venv/dev ## Compare the speed with Node and FastAPI (in bench/peers) and print the table.
	$(BIN)/python -m bench

kills: .venv/dev ## Kill the processes 20 times under load, and check that nothing was lost or came twice.
	for database in sqlite postgres; do for processes in 1 3; do \
	  $(BIN)/python -m stress.kills --database $$database --processes $$processes || exit 1; \
	done; done

floods: .venv/dev ## Flood the server, and tell what others notice and when all is let go of.
	$(BIN)/python -m stress.floods

soak: .venv/dev ## Load the server with everything for MINUTES (60), and see that nothing grows.
	$(BIN)/python -m stress.soak --minutes $(MINUTES)

fuzz: .venv/dev ## Send hostile input in process, SECONDS=60 for each kind; what breaks is kept as a seed.
	$(BIN)/python -m stress.fuzz --seconds $(SECONDS)

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
