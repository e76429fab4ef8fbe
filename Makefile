# One target for each thing a person does here; continuous integration calls these and nothing else.
# Every target sets up what it needs, and no more: `make demo` or `make test` on a fresh clone is enough.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip
SEED   ?= 0

.PHONY: setup demo test test-slow notebook api-fuzz check bench docs clean

setup: $(VENV)/.dev

# torch goes first and by its exact version, from wherever pip is set up to find it. On Linux PyPI's own build brings
# gigabytes of CUDA packages; without a GPU, take the processor's build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
$(VENV)/.torch: constraints.txt
	@echo "== Installing torch into $(VENV): the processor's build is a download of 190 MB, CUDA's is gigabytes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@touch $@

# What the commands and the demo's report need.
$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "== Installing poisonsieve and what its demo needs: 190 MB more to download, 1.8 GB on disk with torch"
	$(PIP) install --constraint constraints.txt --editable ".[report]"
	@touch $@ && echo "== $(VENV) takes $$(du -sh $(VENV) | cut -f1)"

# All that the tests and checks need.
$(VENV)/.dev: $(VENV)/.demo
	@echo "== Installing what the tests and checks need: 370 MB more to download, 3.0 GB on disk with all"
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@ && echo "== $(VENV) takes $$(du -sh $(VENV) | cut -f1)"

$(VENV)/.docs: $(VENV)/.dev
	@echo "== Installing what the documentation is built with"
	$(PIP) install --constraint constraints.txt --editable ".[docs]"
	@touch $@

demo: $(VENV)/.demo
	@echo "== The demo fetches a model and reviews (87 MB, once), and trains for a few minutes"
	$(BIN)/poisonsieve demo --seed $(SEED)

test: setup
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term

test-slow: setup
	$(BIN)/pytest --runslow -m slow -n 2 --dist loadfile

# The notebook, cell after cell, on real weights and reviews.
notebook: setup
	$(BIN)/pytest --runslow tests/slow/test_notebook.py -q

# Two thousand requests made up from the service's own description; none may end in a server error.
api-fuzz: setup
	POISONSIEVE_API_CASES=2000 $(BIN)/pytest tests/serve/test_described.py -q --timeout 1800

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What a guard costs, beside what it finds: one table. Costs are measured, on a quiet machine in some ten minutes. What is found
# stands in docs/results, unless GRID names a folder to measure it in: hours on packaged reviews, a night with DATA_ROOT.
GRID  ?=
SCALE := $(if $(DATA_ROOT),--data-root $(DATA_ROOT),--scale packaged)
FOUND  = $(GRID)/grids/guard_quality$(if $(DATA_ROOT),,-packaged)

bench: setup
ifneq ($(GRID),)
	$(BIN)/poisonsieve bench run benchmarks/guard_quality.yaml $(SCALE) --out $(GRID)
	$(BIN)/python benchmarks/guard_quality.py $(FOUND) --out docs/results
endif
	$(BIN)/python benchmarks/guard_speed.py --quality docs/results/guard_quality.json --out docs/results

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .coverage*
