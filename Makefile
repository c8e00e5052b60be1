# Bare `make` prints this help.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup env demo demo-images check test chaos format constraints golden clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything installed, at pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

env: ## write .env, with fresh random secrets, for docker compose
	@test ! -e .env || { echo ".env is there already, and is not overwritten." >&2; exit 1; }
	@umask 077; $(PYTHON) -c "import re, secrets; open('.env', 'x').write(re.sub(r'^([A-Z0-9_]+)=$$', \
		lambda m: m[0] + secrets.token_hex(24), open('.env.example').read(), flags=re.M))"

demo: setup ## the whole road on real data: upload, train, generate 10,000 rows, download (about a minute)
	$(BIN)/mintage demo

demo-images: setup ## the same for images: handwritten digits of the label asked for (some minutes)
	$(BIN)/mintage demo images

check: setup ## format, lint, types, import map, chart, and the tests of docs and settings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/docs tests/deploy

test: setup ## all tests, against real servers on free ports
	$(BIN)/pytest -n 2 --dist loadgroup --durations=20

MINUTES ?= 30
SEEDS ?= 1

chaos: setup ## break a whole service at random, and audit what is left: MINUTES=30 SEEDS=1,2,3
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seeds $(SEEDS)

format: setup ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: setup ## write the golden files (OpenAPI, CLI help) anew; read the diff
	UPDATE_GOLDEN=1 $(BIN)/pytest tests -k golden

constraints: setup ## pin the versions that are installed now
	@{ head -1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' | grep -vi '^setuptools'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environment and what the demo made
	rm -rf .venv demo-output
