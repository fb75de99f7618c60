# From a fresh clone: `make demo` trains a detector and finds what helps its rare classes, `make test` checks everything.
# Both set up .venv once.

# The first of these that is Python 3.10 to 3.13 and can make a virtual environment. Name another: make PYTHON=...
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2> /dev/null \
	&& echo $$python && break; done)
PYTHONS ?= python3.10 python3.12 python3.13
WORKERS ?= 2
COUNT   ?= 1000
SEED    ?= 0
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs_ready
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations=50 --durations-min=3
ROUNDS  ?= 100
OUTPUT  ?= output/demo/softmax
DATA    := DETECTRON2_DATASETS=datasets

# Of the demo's detector: 2.5 times that of the shipped configs, whose documented numbers are those of 800 iterations.
SCHEDULE := SOLVER.MAX_ITER 2000 SOLVER.STEPS '(1400, 1800)' TEST.EVAL_PERIOD 1000

.PHONY: help demo test test-fast test-long test-pythons pytest fuzz faults lint build docs clean

demo: $(READY)  ## train a detector on a small generated dataset, choose a loss, compare; goes on if interrupted
	$(BIN)/lt-det mini-lvis datasets/mini_lvis
	$(DATA) $(BIN)/python tools/train_net.py --config configs/mini_lvis_softmax.yaml --resume \
		--num-processes 2 --dist-url auto OUTPUT_DIR $(OUTPUT) $(SCHEDULE)
	$(DATA) $(BIN)/lt-det bakeoff --seeds 1 --num-processes $(WORKERS) $(OUTPUT)
	$(DATA) $(BIN)/python tools/train_net.py --config $(OUTPUT)/bakeoff/detector/config.yaml --eval-only
	$(BIN)/lt-det compare $(OUTPUT) $(OUTPUT)/bakeoff/detector --out $(OUTPUT)/comparison

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

test: lint pytest  ## lint, types and all tests (WORKERS=2 processes)

test-fast: $(READY)  ## the tests that neither train nor start processes: three to four minutes
	$(PYTEST) -m "not slow"

test-long: $(READY)  ## the tests that take minutes, which `make test` leaves out
	$(PYTEST) -m long

test-pythons:  ## all tests on each of PYTHONS that is here, in a .venv-* of its own (5.5 GB each)
	@tested=; for python in $(PYTHONS); do \
		if $$python --version 2> /dev/null; then \
			$(MAKE) VENV=.venv-$$(basename $$python) PYTHON=$$python pytest && tested=yes || exit 1; \
		else echo "$$python: not on this machine, skipped"; fi; \
	done; test -n "$$tested"

pytest: $(READY)
	$(PYTEST)

faults: $(READY)  ## ROUNDS=100 trainings disturbed at random moments, and compared with an undisturbed one
	$(BIN)/python -m tests.faults --rounds $(ROUNDS) --seed $(SEED)

fuzz: $(READY)  ## COUNT=1000 mutations of each kind of file through every command, from SEED=0 on
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --count $(COUNT) --seed $(SEED)

lint: $(READY)  ## ruff, mypy, spelling, and words that this project does not use
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python .ci/check_words.py

build: $(READY)  ## sdist and wheel in dist/, checked as a package index would
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

docs: $(DOCS_READY)  ## the docs site in build/docs: open build/docs/index.html; a warning or a dead link is an error
	rm -rf build/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir docs/site \
		--doctree-dir build/doctrees . build/docs
	$(BIN)/python docs/site/check_site.py build/docs

clean:  ## remove environments, outputs and caches
	rm -rf $(VENV) .venv-* build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch and torchvision come from one constraints file in one call: a pair from two sources does not load.
# setuptools stays pinned because Detectron2's model_zoo imports pkg_resources.
$(READY): constraints.txt pyproject.toml lt_det/compat/detectron2_wheel.py
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 with its venv module is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt setuptools wheel torch torchvision
	$(BIN)/python tools/install_detectron2.py
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $(READY)

# Not part of .ready: only the docs site needs Sphinx.
$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	touch $(DOCS_READY)
