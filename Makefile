# make demo   everything from nothing: environment, rendered videos, training, a measured file for the device, a page
# make test   the tests that a change must pass
# make check  what CI runs: lint, types, all tests, the demo
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile

demo: $(VENV)/.installed
	$(BIN)/egokeras train

test: $(VENV)/.installed
	$(PYTEST) -m "not slow"

check: lint
	$(PYTEST)
	$(BIN)/egokeras train --runs build/check

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("egokeras trains on Python 3.11 or newer, this is " + sys.version.split()[0] + "; make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,report,onnx,compress,weight_only,dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

.PHONY: demo test check lint clean
