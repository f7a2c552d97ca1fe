# Each target makes its own virtual environment when there is none. PYTHON: 3.11 or newer.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

# every file of pattern (1) with arguments (2), past those that fail; then 1 and their names if any did
run_all = @failed=; for file in $(1); do echo "== $$file"; $(BIN)/python $$file $(2) || failed="$$failed $$file"; done; \
	if test -n "$$failed"; then echo "failed:$$failed" >&2; exit 1; fi

.PHONY: demo test test-all lint bench roundtrip clean

demo: $(VENV)/.base
	$(BIN)/python train/main.py --config=configs/demo.py $(ARGS)

test: $(VENV)/.test
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

test-all: $(VENV)/.test-serve
	$(BIN)/pytest -n auto $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --target build/typed .
	$(BIN)/mypy build/typed/unitok

bench: $(VENV)/.bench
	$(call run_all,benchmarks/[a-z]*.py,$(ARGS))

# the tables of docs/tokenizers.md; UNITOK_DATA names the folder with the data sets
roundtrip: $(VENV)/.bench
	$(call run_all,benchmarks/*_tokenizer.py)

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

$(VENV)/.test-serve: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[test-serve]'
	touch $@

$(VENV)/.lint: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[lint]'
	touch $@

$(VENV)/.bench: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[bench]'
	touch $@
