PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quick

.PHONY: install quick test gpu check format test-38 bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

quick: install  ## train for some minutes on the CPU, then evaluate what was trained
	$(BIN)/python -m mapush.train --preset quick --run-dir $(RUN)
	$(BIN)/python -m mapush.evaluate cuboid --checkpoint $(RUN)

test: install check  ## lint and all fast tests
	$(BIN)/python -m pytest

gpu: install  ## the tests that need an NVIDIA GPU, in minutes
	$(BIN)/python -m pytest -m gpu

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-38:  ## everything that does not need MuJoCo, on Isaac Gym's Python
	$(MAKE) VENV=.venv38 PYTHON=python3.8 .venv38/installed-38
	.venv38/bin/python -m pytest

.venv38/installed-38: pyproject.toml
	python3.8 -m venv .venv38
	.venv38/bin/pip install --quiet --disable-pip-version-check -e . pytest hypothesis
	touch $@

bench: install  ## speed and memory, as lines of "name.metric value"
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf .venv .venv38 build dist *.egg-info
