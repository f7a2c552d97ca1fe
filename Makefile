# Each target makes its own virtual environment when there is none. PYTHON: 3.11 or newer.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

.PHONY: demo test test-all lint bench roundtrip clean

demo: $(VENV)/.base
	$(BIN)/python train/main.py --config=configs/demo.py $(ARGS)

test: $(VENV)/.test
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

test-all: $(VENV)/.test
	$(BIN)/pytest -n auto $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --target build/typed .
	$(BIN)/mypy build/typed/unitok

bench: $(VENV)/.bench
	for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

# the tables of docs/tokenizers.md; UNITOK_DATA names the folder with the data sets
roundtrip: $(VENV)/.bench
	for file in benchmarks/*_tokenizer.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf build $(VENV)

$(VENV)/.base: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[lint]'
	touch $@

$(VENV)/.bench: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[bench]'
	touch $@
