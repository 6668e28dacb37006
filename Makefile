# Every target sets up what it needs by itself. `make` alone prints what there is.

MODEL  ?= hem-50k
VENV   ?= .venv
QUICK  ?=
TRAIN  ?=
BUNDLE := artifacts/$(MODEL)$(if $(QUICK),-quick)
BIN    := $(VENV)/bin
READY  := $(VENV)/.hemline-ready
TYPES  := .types
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
SHELL  := /bin/sh
# a worker for each core and 3 GB; the tests of a file share what they make, so they stay together
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

# The lock was made for Python 3.11 to 3.13; tflite-runtime has no build after 3.11, so that is first.
PYTHON ?= $(shell for each in python3.11 python3 python3.12 python3.13; do \
	if $$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo $$each; break; fi; done)

.DEFAULT_GOAL := help
.PHONY: help setup export compare runtime test test-quick test-medium test-slow test-devices lint lock performance results tables docs dist release clean distclean

help: ## print this list
	@echo 'Hemline: from labelled images to a small, verified, measured file for an edge device.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  MODEL=name   another model (default hem-50k)'
	@echo '  QUICK=1      6,000 images and 2 epochs, to see that everything works'
	@echo '  TRAIN=1      train anew instead of taking the checkpoint that is there'

setup: $(READY) ## make .venv with the locked packages

$(READY): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.11 to 3.13 here: apt-get install python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'error: $(PYTHON) cannot make environments: apt-get install python3-venv' >&2; exit 1; }
	@echo 'setting up $(VENV): some 2 minutes, about 900 MB to download, 3.2 GB on disk' >&2
	@exec 9> $(VENV).lock; flock 9; test $@ -nt requirements.lock -a $@ -nt pyproject.toml || { \
		{ test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV); } && \
		$(PIP) install --timeout 30 --retries 3 --no-deps --require-hashes -r requirements.lock && \
		$(PIP) install --no-deps --no-build-isolation --editable . && \
		$(BIN)/python tools/hemline_first.py && touch $@; }
	@echo 'ready: . $(BIN)/activate puts hemline on the PATH; hemline data sample writes pictures to try it on' >&2

export: $(READY) ## train if needed, export, verify, bench quickly, print one table
	@$(BIN)/hemline export --model $(MODEL) $(if $(QUICK),--quick) $(if $(TRAIN),--train)
	@$(BIN)/hemline bench $(BUNDLE) --quick

compare: $(READY) ## accuracy against latency: table, records, picture, verdict
	@$(BIN)/hemline export --model $(MODEL) $(if $(QUICK),--quick)
	@$(BIN)/hemline compare $(BUNDLE)

runtime: $(READY) ## build dist/hemline-runtime.pyz, the one file for a device
	@mkdir -p dist
	@$(BIN)/python -m hemline.runtime.one_file dist
	@$(BIN)/python -I dist/hemline-runtime.pyz info > /dev/null
	@echo "dist/hemline-runtime.pyz: $$(($$(wc -c < dist/hemline-runtime.pyz) / 1000)) kB; next: scp dist/hemline-runtime.pyz $(BUNDLE)/int8.tflite USER@BOARD:"

test: $(READY) ## run the checks and the quick tests
	@$(MAKE) --no-print-directory -j 2 lint test-quick

# $(MAKE) stands alone on its line: make runs such a line even when it is only asked what it would do.
test-quick: $(READY)
	@$(BIN)/pytest -q $(WORKERS)

test-medium: $(READY) ## run the tests that need seconds each: CI does
	@$(BIN)/pytest -q -m 'medium and not slow and not devices' $(WORKERS)

test-slow: $(READY) ## run the tests that need minutes
	@$(BIN)/pytest -q -m slow $(WORKERS)

# HEMLINE_REQUIRE=ssh,pi4 makes a part that is missing a failure instead of a skip; SMOKE=1 runs one
# test of each kind.
test-devices: $(READY) ## run the tests on stand-ins for devices (ssh, emulated, GPU, tflm)
	@$(BIN)/pytest -q -m 'devices$(if $(SMOKE), and smoke)'

lint: $(READY) ## formatting, lint and types
	@$(BIN)/ruff format --check --quiet . || { echo 'error: run $(BIN)/ruff format .' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/hemline
	@ln -s $(CURDIR)/hemline/* $(foreach stage,train export runtime bench,$(CURDIR)/$(stage)) $(TYPES)/hemline/
	@MYPYPATH=$(TYPES) $(BIN)/mypy --no-error-summary -p hemline

lock: ## resolve the dependencies anew into requirements.lock
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header \
		--extra all --extra dev pyproject.toml --output-file requirements.lock

performance: $(READY) ## measure Hemline against bare libraries (a quiet machine, some 20 minutes)
	@$(BIN)/hemline export --model hem-50k
	@for each in second_export classify batch cold_start help measurement_quality gate verification exports parity \
		pipeline training evaluation_speed devices photographs importing tuning serve score browser cluster; do \
		$(BIN)/python tests/performance/$$each.py || exit 1; done

results: $(READY) ## measure this machine and write results/ and the README's tables
	@$(BIN)/hemline export --model $(MODEL)
	@$(BIN)/hemline compare artifacts/$(MODEL)
	@mkdir -p results/$(MODEL)
	@cp artifacts/$(MODEL)/records.jsonl artifacts/$(MODEL)/compare.png results/$(MODEL)/
	@$(MAKE) --no-print-directory tables

tables: $(READY) ## write the tables of README.md and docs/ from results/
	@$(BIN)/python tools/write_tables.py

docs: $(READY) ## build the pages as a searchable site in site/
	@$(BIN)/mkdocs build --quiet
	@echo 'open site/index.html'

# The wheel is made from the sdist, so that it also proves the sdist complete.
dist: $(READY) ## build sdist and wheel, try the wheel in an empty environment
	@test -f $(BUNDLE)/manifest.json || $(BIN)/hemline export --model $(MODEL) $(if $(QUICK),--quick)
	@rm -f dist/hemline-*.tar.gz dist/hemline-*.whl
	@mkdir -p build dist
	@$(BIN)/python -c 'from setuptools.build_meta import build_sdist; build_sdist("dist")' > build/sdist.log
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist dist/hemline-*.tar.gz
	@sed -n 's/^\([^ #].*==.*[^ ]\) *\\$$/\1/p' requirements.lock > build/constraints.txt
	@$(BIN)/python tests/packaging/try_wheel.py dist/hemline-*.whl build/constraints.txt $(BUNDLE)

release: $(READY) ## check and build a release: sdist, wheel, .pyz and SHA256SUMS in dist/
	@$(BIN)/python tools/release.py check
	@rm -rf dist
	@$(MAKE) --no-print-directory dist runtime
	@$(BIN)/python tools/release.py sums dist

clean: ## remove what was made: artifacts, build folders, caches of tools
	@rm -rf artifacts build dist $(TYPES) .pytest_cache .mypy_cache .ruff_cache *.egg-info

distclean: clean ## also remove trained checkpoints and the environment
	@rm -rf checkpoints $(VENV)
