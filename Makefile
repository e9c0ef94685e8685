# Everything runs in .venv, made on first use. `make demo` needs no torch, `make test` does.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test check openapi triton clean

demo: .venv/serving  ## score a slide through API, queue and worker
	$(BIN)/deepsmile demo

test: .venv/development .venv/triton  ## all tests
	$(BIN)/python -m pytest

check: .venv/development  ## linters, types, fast tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow"

openapi: .venv/development  ## write openapi.yaml from the code
	$(BIN)/python -m deepsmile.api.openapi > openapi.yaml

triton: .venv/triton  ## install a Triton server, and its client, for `deepsmile up --triton`

.venv/serving: pyproject.toml constraints.txt requirements-cucim.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[cpu]'
	$(PIP) --no-deps -r requirements-cucim.txt
	touch $@

.venv/development: .venv/serving
	$(PIP) -e '.[cpu,dev]'
	touch $@

.venv/triton: requirements-triton.txt | .venv/serving
	$(PIP) -e '.[cpu,triton]'
	rm -rf $@
	$(PIP) --no-deps --target $@ -r requirements-triton.txt
	touch $@

clean:  ## remove what is made on first use; slides and jobs in deepsmile-data stay
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find services training tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
