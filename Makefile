# Every target does its own set-up in .venv, from the versions pinned in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test coverage fuzz lint docs report bench-gpu clean
.DELETE_ON_ERROR:

demo: .venv/ready-demo ## digits: PCA and its relatives beside the autoencoder; a table and pictures
	$(BIN)/python examples/demo.py

# Two processes fill two cores; with threads of their own they would only wait for each other.
test: export OMP_NUM_THREADS = 1
test: .venv/ready-tests ## the tests
	$(BIN)/python -m pytest -n 2
	SCIPY_ARRAY_API=1 $(BIN)/python -m pytest -n 2 tests/test_common.py -k array_api

coverage: export OMP_NUM_THREADS = 1
coverage: .venv/ready-coverage ## the tests, and which lines and branches they run
	$(BIN)/python -m pytest -n 2 --cov=sk_autoenc --cov-branch --cov-report=term:skip-covered

fuzz: export OMP_NUM_THREADS = 1
fuzz: .venv/ready-tests ## 5000 hostile files of every kind: refused, or opened as what they say
	$(BIN)/python -m tests.hostile_files 5000

lint: .venv/ready-lint ## linter, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/ready-docs ## the site, in docs/_build/html; warnings are errors, of pages read in earlier builds too (-E)
	$(BIN)/sphinx-build -E -W --keep-going -q -b html docs docs/_build/html

bench-gpu: .venv/ready-benchmarks .venv/ready-tests ## every figure on a GPU, in ten minutes: its tests, then its columns of the tables
	$(BIN)/python -m pytest tests/test_gpu.py
	$(BIN)/python -m benchmarks.bench_speed --rounds 5
	$(BIN)/python -m benchmarks.bench_vae_speed --rounds 5
	$(BIN)/python -m benchmarks.report

report: .venv/ready ## benchmarks/README.md from the stored results
	$(BIN)/python -m benchmarks.report

clean:
	rm -rf .venv demo_output docs/_build docs/auto_examples docs/api/generated

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --editable .
	touch $@

.venv/ready-demo: .venv/ready
	$(PIP) --editable ".[plot]"
	touch $@

.venv/ready-%: .venv/ready
	$(PIP) --editable ".[plot]" --group $*
	touch $@
