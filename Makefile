# make demo: a picture in a minute.   make test: what must hold before a change lands.   make test-all: the slow tests, too.
# make web: ONNX Runtime for the page in the browser, by npm.   make docs: the documentation, into build/site.

PYTHON ?= python3
VENV ?= .venv
# The version the suite is run with. On Linux without a GPU, use PyTorch's CPU build of it.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
DEMO := demo/astronaut-hokusai-great-wave.jpg

# Two scripts, and two builds of WebAssembly, packed; a visit takes one of each.
ORT := src/impasto/app/web/ort
ORT_FROM := web/node_modules/onnxruntime-web/dist

.PHONY: demo test test-all lint types web docs clean

demo: $(VENV)/.installed
	@mkdir -p demo
	$(BIN)/impasto stylize examples/astronaut.jpg hokusai-great-wave -o $(DEMO)
	@echo "The picture: $(DEMO)"

# Two processes of one thread each: with more, they take the cores from each other.
test: TESTS = -m "not slow"
test test-all: lint types
	@if command -v npm >/dev/null; then $(MAKE) web; else echo "no npm: the page in the browser is not tested"; fi
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(TESTS)

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
	$(BIN)/python -m pip install --quiet --editable ".[app,camera,export,huge,quantize,ray,serve,vgg19]" --group dev
	@touch $@ $(VENV)/.installed

# Its version and checksum are in web/package-lock.json, and npm checks them.
web: $(ORT)/.made

$(ORT)/.made: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund --silent
	mkdir -p $(ORT)
	for build in wasm webgpu; do cp $(ORT_FROM)/ort.$$build.bundle.min.mjs $(ORT)/ort.$$build.bundle.min.js || exit; done
	for build in threaded threaded.asyncify; do \
		gzip -9 -n -c $(ORT_FROM)/ort-wasm-simd-$$build.wasm > $(ORT)/ort-wasm-simd-$$build.wasm.gz || exit; done
	@touch $@

# The reference of the command line is what --help says; its examples, lines that begin with the command, are set as code.
docs: $(VENV)/.installed-docs
	mkdir -p build
	echo "from impasto.cli import build; app = build()" > build/cli.py
	$(BIN)/typer build/cli.py utils docs --name impasto | sed -e "s/^#/##/" -e "s/^impasto /    impasto /" > build/cli.md
	$(BIN)/zensical build --clean --strict

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

clean:
	rm -rf $(VENV) $(ORT) web/node_modules demo build
