PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs benchmarks clean

demo: .venv/.demo
	$(BIN)/camlucida demo

test: .venv/.test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

benchmarks: .venv/.benchmarks
	$(BIN)/python benchmarks/overhead.py

clean:
	rm -rf .venv results docs/_build docs/gallery docs/methods docs/metrics docs/measured

# An extra is installed once, and again when pyproject.toml says so.
.venv/.%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
