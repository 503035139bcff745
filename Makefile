# Everything here sets itself up: a machine with Python 3.11 and make is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo mitigate test test-long test-gpu environments lint docs screenshots clean help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY) ## Run the whole instrument on the built-in model of known bias, and add a leaderboard row
	$(BIN)/fairbench run --model phantom --task phantom-occupations --images-per-prompt 32 --leaderboard runs/demo.csv

mitigate: $(READY) ## Balance the phantom by SFT, BPO and distillation, and judge whether it helped; ARGS=--full for all arms
	$(BIN)/python benchmarks/mitigate.py $(ARGS)

test: $(READY) ## Run the tests, but for those of test-long
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m 'not long' tests

test-long: $(READY) ## Run the longest proofs: the phantom's truth, bias and builds, trainings in several processes
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m long tests

test-gpu: $(READY) ## Run the tests that need a CUDA device, and its benchmark; elsewhere both say why they are skipped
	$(BIN)/python -m pytest -q -rs tests/gpu
	$(BIN)/python benchmarks/gpu.py

environments: $(READY) ## Resolve the environment of each recipe for its own Python; needs the network, installs nothing
	$(BIN)/python -m tests.workers.resolve_environments $(ARGS)

lint: $(READY) ## Run ruff, mypy (strict), import-linter, pydoclint, shellcheck, and the offline checks of the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint --quiet $$($(BIN)/python docs/public_modules.py)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/shellcheck examples/cluster/*.sbatch

docs: $(READY) ## Build the documentation site into site/, strictly: every link must lead somewhere
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(READY) ## Take the screenshots of the docs from pages that are built for it; needs Chromium
	PYTHONPATH=. $(BIN)/python docs/make_screenshots.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[all,ray]'
	touch $@

clean: ## Remove the environment, caches and runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis runs out site
