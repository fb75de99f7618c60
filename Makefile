# From a fresh clone: `make demo` trains and reports, `make test` checks everything. Both set up .venv once.
# A demo that was interrupted goes on where it was; a finished one is judged again.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUTPUT ?= output/mini_lvis_softmax

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/lt-det mini-lvis datasets/mini_lvis
	DETECTRON2_DATASETS=datasets $(BIN)/python tools/train_net.py --config configs/mini_lvis_softmax.yaml --resume OUTPUT_DIR $(OUTPUT)

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch and torchvision come from one constraints file in one call: a pair from two sources does not load.
# setuptools stays pinned because Detectron2's model_zoo imports pkg_resources.
$(READY): constraints.txt pyproject.toml tools/install_detectron2.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt setuptools wheel torch torchvision
	$(BIN)/python tools/install_detectron2.py
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $(READY)
