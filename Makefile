# Each target does its own set-up first: a virtual environment in .venv, brought up to date when pyproject.toml or
# constraints.txt change.
#
#   PYTHON=python3.12     another interpreter (3.11 or newer)
#   TORCH_INDEX=          torch from PyPI: on Linux the CUDA build, about 3 GB. By default the CPU build is preferred,
#                         about 200 MB; where its host cannot be reached, what pip finds elsewhere is taken.

PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BENCH_TEXT ?= data/shakespeare.txt
BENCH ?=
BENCH_RUNS := data/benchmarks/runs

NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit("charrnn needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help demo test torture browser-test check format bench bench-short gpu clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## Train two minutes on prose about Python, sample, score the held-out tenth
	$(BIN)/charrnn data python-prose
	$(BIN)/charrnn train data/python-prose.txt --out checkpoints/demo --time 2m --fresh
	$(BIN)/charrnn sample checkpoints/demo "The " --length 400 --temperature 0.6
	$(BIN)/charrnn eval checkpoints/demo data/python-prose.txt --valid-fraction 0.1
	@echo
	@echo 'To go on:'
	@echo '  $(BIN)/charrnn train YOUR-TEXT.txt                        a model of a text of yours'
	@echo '  $(BIN)/charrnn sample checkpoints/demo --interactive      write in turns with this one'
	@echo '  $(BIN)/charrnn train --resume checkpoints/demo --time 5m  train it three minutes longer'
	@echo '  source $(BIN)/activate                                    then charrnn alone will do'

test: $(READY)  ## Run the tests, on all cores: not quite four minutes on two
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8

torture: $(READY)  ## Run the tests in full: kill it, cut the power, fail each call, fuzz; 10 minutes or more
	$(BIN)/python -m pytest -q --slow --durations=20

browser-test: $(READY)  ## Test the page in headless Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pytest -q --browser tests/test_browser.py

check: $(READY)  ## Lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)  ## Format the code and repair what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) $(BENCH_TEXT)  ## Print the benchmark figures (hours; BENCH="--only quick" for one of them)
	$(BIN)/python tests/benchmarks/texts.py data/benchmarks
	$(BIN)/python tests/benchmarks/bench.py --text $(BENCH_TEXT) --texts data/benchmarks/*.txt --runs $(BENCH_RUNS) $(BENCH)
ifeq ($(BENCH),)
	$(BIN)/python tests/benchmarks/training.py --text $(BENCH_TEXT)
	$(BIN)/python tests/benchmarks/sampling.py $(BENCH_RUNS)/$(basename $(notdir $(BENCH_TEXT)))-default
	$(BIN)/python tests/benchmarks/scoring.py --model $(BENCH_RUNS)/$(basename $(notdir $(BENCH_TEXT)))-default --text $(BENCH_TEXT)
	$(BIN)/python tests/benchmarks/tokenizers.py --text $(BENCH_TEXT)
	$(BIN)/python tests/benchmarks/names.py
	$(BIN)/python tests/benchmarks/ranks.py --text $(BENCH_TEXT)
	$(BIN)/python tests/benchmarks/cells.py table speed recall markov --text $(BENCH_TEXT) --seconds 90
	$(BIN)/python tests/benchmarks/encoding.py $(BENCH_TEXT)
	$(BIN)/python tests/benchmarks/distillation.py --text $(BENCH_TEXT) --teacher $(BENCH_RUNS)/$(basename $(notdir $(BENCH_TEXT)))-default
endif

bench-short: $(READY) $(BENCH_TEXT)  ## Print one section of RESULTS.md for this processor: 10 minutes
	$(BIN)/python tests/benchmarks/texts.py data/benchmarks python-docs python-lib
	$(BIN)/python tests/benchmarks/bench.py --text $(BENCH_TEXT) --runs $(BENCH_RUNS) \
		--texts data/benchmarks/python-docs.txt data/benchmarks/python-lib.txt \
		--only nanogpt quick reset goal quick-texts $(BENCH)

gpu:  ## On a machine with an NVIDIA GPU: set up, run its tests, print its figures (GPU_TEXT=shakespeare.txt)
	@$(NEW_ENOUGH)
	@$(PYTHON) tests/gpu/prove.py $(if $(GPU_TEXT),--text $(GPU_TEXT)) $(GPU)

clean:  ## Remove what was made, except texts in data/ and models in checkpoints/
	rm -rf .venv .venv-gpu build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find charrnn tests -name __pycache__ -type d -prune -exec rm -rf {} +

data/shakespeare.txt: | $(READY)
	$(BIN)/charrnn data shakespeare

# torch comes first and alone, so that its index is asked for nothing else.
$(READY): pyproject.toml constraints.txt
	@$(NEW_ENOUGH)
	@echo 'Setting up .venv: torch first, about 200 MB, then the rest. It takes a minute or two.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --constraint constraints.txt torch \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 1 --timeout 15)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo 'Ready.'
