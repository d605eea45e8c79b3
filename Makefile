# make demo | test | quick | fuzz | lint | docs | bench | screenshots: each sets up what it needs in .venv, once.
# make dist | oldest | matrix: what is released, and other versions of what it stands on.
PYTHON ?= python3
CORES ?= 2
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test quick fuzz lint docs pictures dist oldest matrix bench screenshots clean

demo: $(VENV)/.workflow
	$(BIN)/snakemake --cores $(CORES)

test: $(VENV)/.test
	$(BIN)/pytest --numprocesses $(CORES) --dist loadfile

# The tests that neither run Snakemake nor take long: 2 minutes.
quick: $(VENV)/.test
	$(BIN)/pytest --numprocesses $(CORES) --dist loadfile -m 'not workflow and not slow'

# make fuzz FUZZ='--minutes 60': changed inputs of every kind, others each time, for so long each.
fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/campaign.py $(FUZZ)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint workflow/container/Dockerfile; fi

# docs/_build/index.html. Warnings are errors: a link that leads nowhere, a name that is not there.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

# The pictures of the pages, anew: of the embedded net, and of the gallery after `make demo`.
pictures: $(VENV)/.test
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/pictures.py --gallery results/shapes

# dist/: what is released. tests/project/test_wheel.py installs it far from here and runs it.
dist: $(VENV)/.test
	$(BIN)/hatchling build -d dist

# The quick tests on the oldest versions that pyproject.toml allows. Not torch, torchvision and the plugin for Slurm: those are
# the ones of constraints.txt, since old builds of torch are gigabytes and the plugin asks for new packages.
OLD := .venv-oldest/bin/python
oldest: $(VENV)/.uv
	$(BIN)/uv venv --quiet --allow-existing --python $(PYTHON) .venv-oldest
	grep -E '^(torch|torchvision)==' constraints.txt > .venv-oldest/overrides.txt
	$(BIN)/uv pip install --quiet --python $(OLD) --resolution lowest-direct --override .venv-oldest/overrides.txt \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --editable '.[pytest,timm,workflow]'
	$(OLD) -m pytest --numprocesses $(CORES) --dist loadfile -m 'not workflow and not slow'

# The quick tests on each Python that is on this machine, then on the oldest packages.
PYTHONS ?= python3.11 python3.12 python3.13
matrix:
	for python in $(PYTHONS); do \
		if version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); then \
			$(MAKE) quick PYTHON=$$python VENV=.venv-$$version || exit 1; \
		else \
			echo "$$python is not on this machine: not tested"; \
		fi; \
	done
	$(MAKE) oldest

# make bench BENCH='--only gd/conv1': options of tests/benchmarks/speed.py.
bench: $(VENV)/.test
	$(BIN)/python tests/benchmarks/speed.py $(BENCH)

# Pictures of the gallery's pages, in results/screenshots; from results/shapes too, once there is one.
screenshots: $(VENV)/.test
	$(BIN)/python tests/benchmarks/screenshots.py

clean:
	rm -rf .venv .venv-*

$(VENV)/.uv: $(VENV)/.torch
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	touch $@

# torch goes first and alone: with its exact version pip may take a build already on the machine.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	touch $@

# .venv/.workflow, .venv/.test, .venv/.lint, .venv/.docs: the extra of that name is installed.
$(VENV)/.%: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@
