# Everything here sets itself up: a machine with Python 3.11 and make is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo mitigate test lint clean help

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY) ## Run the whole instrument on the built-in model of known bias, and add a leaderboard row
	$(BIN)/fairbench run --model phantom --task phantom-occupations --images-per-prompt 32 --leaderboard runs/demo.csv

mitigate: $(READY) ## Balance the phantom by SFT and BPO, and judge whether it helped; ARGS=--full for all arms
	$(BIN)/python benchmarks/mitigate.py $(ARGS)

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests

lint: $(READY) ## Run ruff, mypy (strict) and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[all]'
	touch $@

clean: ## Remove the environment, caches and runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis runs out
