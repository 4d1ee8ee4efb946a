# Every target sets itself up from nothing: it makes .venv when there is none, installs parckit with what it needs
# when pyproject.toml has changed since the last time, then runs. A .venv that is already there is kept.

PYTHON ?= python3
ARGS ?=
TASK ?= classify
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.parckit-installed
# The engines have folders of their own, because some of them need other versions of what .venv holds, and LiteRT's
# converter needs other versions than ExecuTorch. Behind them they see .venv, so that torch is there once.
ENGINES := .venv-engines
ENGINES_EXTRAS := openvino,opencv,mnn,export-ncnn,executorch
ENGINE_TESTS := tests/contracts/test_engines*.py tests/integrations/test_torch_tools.py tests/measure/test_memory.py tests/serve/test_page_browser.py
LITERT := .venv-litert
LITERT_EXTRAS := export-litert

# Compiled modules are kept: the tests start many processes, and each would compile parckit again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test test-engines test-litert lint pythons lowest timm clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

quickstart: $(STAMP) ## Digits to a verified ONNX bundle and a report in runs/quickstart_TASK; TASK=classify, detect or segment
	$(BIN)/parckit quickstart --task $(TASK)

# Two workers of one thread each: on two cores that beats one worker of two threads, because the tests are many and small.
# Without --no-loadscope-reorder, files with few tests would come last; some of them are long. tests/conftest.py orders them.
test: $(STAMP) ## Run all tests; options for pytest go in ARGS="..."
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# anyio comes with an engine in an old version, whose plugin for pytest is older than our pytest.
test-engines: $(ENGINES)/.parckit-installed ## Run networks in all engines, in the browser and with torch's tools (needs the network; some minutes)
	OMP_NUM_THREADS=1 $(ENGINES)/bin/python -m pytest --numprocesses 2 --dist loadgroup -p no:anyio -m engines $(ENGINE_TESTS) $(ARGS)

test-litert: $(LITERT)/.parckit-installed ## The same for LiteRT, whose converter is large (needs the network and 1 GB; some minutes)
	OMP_NUM_THREADS=1 $(LITERT)/bin/python -m pytest -p no:anyio -m litert tests/contracts/test_engines*.py $(ARGS)

lint: $(STAMP) ## Check style, format, types and the arrows between rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports

pythons: $(STAMP) ## Try the wheel, without torch, on Python 3.10 to 3.13 and with the lowest versions (needs the network)
	$(BIN)/python tests/pythons.py
	$(BIN)/python tests/pythons.py --only 3.10 --lowest

lowest: $(STAMP) ## Run the quickstart with the lowest versions of all packages (needs the network and 9 GB; some minutes)
	$(BIN)/python tests/pythons.py --only 3.10 --lowest --quickstart

timm: $(STAMP) ## Run timm's own tests of models on parckit's (needs the network; some minutes)
	OMP_NUM_THREADS=1 $(BIN)/python tests/timm_models.py --numprocesses 2 $(ARGS)

clean: ## Remove .venv, caches and build leftovers; runs/ stays
	rm -rf $(VENV) $(ENGINES) $(LITERT) build dist src/parckit.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(ENGINES)/.parckit-installed: EXTRAS := $(ENGINES_EXTRAS)
$(LITERT)/.parckit-installed: EXTRAS := $(LITERT_EXTRAS)
$(ENGINES)/.parckit-installed $(LITERT)/.parckit-installed: $(STAMP)
	test -x $(@D)/bin/python || $(BIN)/python -m venv $(@D)
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' \
		> "$$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/behind.pth"
	$(@D)/bin/python -m pip install --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "parckit needs Python 3.10 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
