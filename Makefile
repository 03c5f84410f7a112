PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quick
MINUTES ?= 60

# the build of PyTorch: cpu, cu130 and so on; by default the one that pip finds, on Linux with CUDA
TORCH ?=
TORCH_INDEX := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))

REPOSITORY ?=

# the tests start hundreds of processes, each of which would compile the code anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install quick test half-1 half-2 gpu soak check format docs dist test-38 check-38 bench mutants clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH_INDEX) torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

quick: install  ## train for some minutes on the CPU, then evaluate what was trained
	$(BIN)/python -m mapush.train --preset quick --run-dir $(RUN)
	$(BIN)/python -m mapush.evaluate cuboid --checkpoint $(RUN)

test: check  ## lint and all fast tests, in two processes
	$(MAKE) --jobs=2 --output-sync=target half-1 half-2

HALF := tests/code tests/contracts tests/harness tests/memory
half-1: install
	$(BIN)/python -m pytest $(HALF)
half-2: install
	$(BIN)/python -m pytest $(addprefix --ignore=,$(HALF))

gpu: install  ## the tests that need an NVIDIA GPU, in minutes
	$(BIN)/python -m pytest -m gpu

soak: install  ## the same, and soaks: two of MINUTES (60), two of an eighth of that
	$(BIN)/python -m pytest -m "gpu or soak" --soak=$(MINUTES) --sim warp --report=runs/soak

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs  ## the documentation site, in build/site; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

dist: install  ## the wheel, in dist; REPOSITORY=https://github.com/OWNER/NAME is where the README's links then lead
	@test -n "$(REPOSITORY)" || (echo "say where the README's links lead: make dist REPOSITORY=https://github.com/OWNER/NAME"; exit 2)
	rm -rf build/source dist && mkdir -p build/source
	git archive HEAD | tar -x -C build/source
	sed -E -i 's#\]\((docs/[^)]*\.(png|gif))\)#](@REPOSITORY@/raw/main/\1)#g; s#\]\(([A-Za-z]+[A-Za-z/_.-]*)\)#](@REPOSITORY@/blob/main/\1)#g; s#@REPOSITORY@#$(REPOSITORY)#g; s#git clone REPOSITORY#git clone $(REPOSITORY)#' \
		build/source/README.md
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./build/source

test-38:  ## everything that does not need MuJoCo, on Isaac Gym's Python
	$(MAKE) VENV=.venv38 PYTHON=python3.8 .venv38/installed-38
	.venv38/bin/python -m pytest

.venv38/installed-38: pyproject.toml
	python3.8 -m venv .venv38
	.venv38/bin/pip install --quiet --disable-pip-version-check -e . pytest hypothesis
	touch $@

check-38: .venv38-small/installed  ## of those, the tests that do without torch: a small download, and a minute
	.venv38-small/bin/python -m pytest

.venv38-small/installed: pyproject.toml
	python3.8 -m venv .venv38-small
	.venv38-small/bin/pip install --quiet --disable-pip-version-check \
		numpy tyro typing_extensions rich psutil pyyaml filelock jinja2 pytest hypothesis
	touch $@

bench: install  ## speed and memory, as lines of "name.metric value"
	$(BIN)/python -m benchmarks.run

mutants: install  ## which small changes of the code no test notices, in hours on two cores
	$(BIN)/pip install --quiet --disable-pip-version-check mutmut==3.8.1 coverage==7.17.3
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants --jobs $$(nproc)

clean:
	rm -rf .venv .venv38 .venv38-small build dist *.egg-info
