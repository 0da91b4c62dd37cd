# make demo: a picture in a minute.   make test: everything that must hold before a change lands.

PYTHON ?= python3
VENV ?= .venv
# The version the suite is run with. On Linux without a GPU, use PyTorch's CPU build of it.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
DEMO := demo/astronaut-hokusai-great-wave.jpg

.PHONY: demo test lint types clean

demo: $(VENV)/.installed
	@mkdir -p demo
	$(BIN)/impasto stylize examples/astronaut.jpg hokusai-great-wave -o $(DEMO)
	@echo "The picture: $(DEMO)"

test: lint types
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[app,export,ray,vgg19]" --group dev
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo
