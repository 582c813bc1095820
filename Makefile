# `make book` and `make test` do everything, on a machine with Python 3.11 or later and make.
PYTHON ?= python3
BIN := .venv/bin
STAGING := _build/staging

# One thread for each process: two busy threads on contended cores are far slower than one, and the
# last digits of a result depend on the number.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

JUPYTER_BOOK := $(BIN)/jupyter-book build -W -n --keep-going --path-output .

.PHONY: setup weights book html test lint reproduce benchmark clean

setup: .venv/.installed weights

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, for instance: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv && \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev,docs,scale,baselines]'; } || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,scale,baselines]'
	touch $@

weights: .venv/.installed
	@for name in speech-encoder face-detector; do \
	  test -e "$${THESISLIB_WEIGHTS_ROOT:-data/weights}/$$name/model.safetensors" || \
	  $(BIN)/thesis weights get $$name || \
	  echo "warning: no $$name weights; the tests that need them will be skipped" >&2; \
	done

book: setup
	rm -rf _build
	mkdir -p $(STAGING)
	cp -R _config.yml _toc.yml book notebooks $(STAGING)
	set -e; for notebook in notebooks/[0-9][0-9]_*.ipynb; do \
	  chapter=$$(basename "$$notebook" | cut -c1-2); \
	  $(BIN)/thesis run "$$chapter" --profile tiny --out $(STAGING); \
	done
	$(JUPYTER_BOOK) $(STAGING)

html: .venv/.installed
	rm -rf _build
	$(JUPYTER_BOOK) .

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval --nbval-current-env notebooks tests thesislib

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

PROFILE ?= small
reproduce: setup
	$(BIN)/thesis reproduce --profile $(PROFILE)

benchmark: setup
	set -e; for script in benchmarks/*.py; do $(BIN)/python "$$script"; done

clean:
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
