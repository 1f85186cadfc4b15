# `make help` lists the targets; every target installs what it needs.
PYTHON ?= python3
MINUTES ?= 60
BIN := .venv/bin
SECONDS ?= 60
NODE_MODULES := $(addsuffix /node_modules/.package-lock.json,tests/js clients/js)

.PHONY: help run test check lint audit compile bench kills floods fuzz soak images format

help: ## List the targets.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: .venv/run ## Serve the scoreboard on http://127.0.0.1:5000 with SQLite.
	$(BIN)/python wsgi.py

test: .venv/dev $(if $(shell command -v npm),$(NODE_MODULES)) ## Run the tests.
	$(BIN)/python -m pytest $(TESTS)

check: .venv/dev ## Check format, style and types, and run the unit tests, in about two minutes.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy scoreboard config.py wsgi.py clients/python
	$(BIN)/python -m pytest -n auto -m "not processes"

lint: .venv/dev ## Check format, style, types, spelling and unsafe code patterns.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy scoreboard config.py wsgi.py clients/python
	$(BIN)/codespell
	$(BIN)/bandit --quiet --recursive scoreboard config.py wsgi.py migrations clients/python

audit: .venv/dev ## Check the packages for known vulnerabilities (needs the network).
	$(BIN)/pip-audit --requirement requirements.txt

compile: .venv/uv ## Write requirements*.txt, every package with its exact version, from requirements*.in.
	for name in requirements requirements-dev; do \
	  .venv/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
	    --no-emit-package pip --custom-compile-command "make compile" \
	    --output-file $$name.txt $$name.in || exit 1; \
	done

bench: .venv/dev ## Compare the speed with Node and FastAPI (in bench/peers) and print a table.
	$(BIN)/python -m bench

kills: .venv/dev ## Kill processes 20 times under load; check that no update was lost or counted twice.
	for database in sqlite postgres; do for processes in 1 3; do \
	  $(BIN)/python -m stress.kills --database $$database --processes $$processes || exit 1; \
	done; done

floods: .venv/dev ## Flood the server; print the effect on other clients and when all connections are closed.
	$(BIN)/python -m stress.floods

soak: .venv/dev ## Run mixed load for MINUTES (60); check that memory, files and green threads stay flat.
	$(BIN)/python -m stress.soak --minutes $(MINUTES)

fuzz: .venv/dev ## Send hostile input in process, SECONDS (60) for each kind; store failing input as seeds.
	$(BIN)/python -m stress.fuzz --seconds $(SECONDS)

images: .venv/dev ## Take the pictures of the README in Chromium.
	$(BIN)/python -m docs.images.take

format: .venv/dev ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/run: requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch .venv/run $@

.venv/uv: | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --target $@ uv==0.13.9

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-fund --no-audit
	touch $@
