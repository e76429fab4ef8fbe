# One target for each thing a person does here; continuous integration calls these and nothing else.
# Every target sets up what it needs: `make test` on a fresh clone is enough.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
SEED   ?= 0

.PHONY: setup demo test test-slow api-fuzz check bench docs clean

setup: $(STAMP)

# torch goes first and by its exact version, from wherever pip is set up to find it. On Linux PyPI's own build brings
# gigabytes of CUDA packages; without a GPU, take the processor's build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: setup
	$(BIN)/poisonsieve demo --seed $(SEED)

test: setup
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term

test-slow: setup
	$(BIN)/pytest --runslow -m slow -n 2 --dist loadfile

# Two thousand requests made up from the service's own description; none may end in a server error.
api-fuzz: setup
	POISONSIEVE_API_CASES=2000 $(BIN)/pytest tests/serve/test_described.py -q --timeout 1800

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/guard_speed.py
	$(BIN)/python benchmarks/onion_speed.py

docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/sphinx-build -W -q -b html docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .coverage*
