# make demo | test | quick | lint | bench | screenshots: each sets up what it needs in .venv, once.
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin

.PHONY: demo test quick lint bench screenshots clean

demo: .venv/.workflow
	$(BIN)/snakemake --cores $(CORES)

test: .venv/.test
	$(BIN)/pytest --numprocesses $(CORES) --dist loadfile

# The tests that neither run Snakemake nor take long: 2 minutes.
quick: .venv/.test
	$(BIN)/pytest --numprocesses $(CORES) --dist loadfile -m 'not workflow and not slow'

lint: .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint workflow/container/Dockerfile; fi

# make bench BENCH='--only gd/conv1': options of tests/benchmarks/speed.py.
bench: .venv/.test
	$(BIN)/python tests/benchmarks/speed.py $(BENCH)

# Pictures of the gallery's pages, in results/screenshots; from results/shapes too, once there is one.
screenshots: .venv/.test
	$(BIN)/python tests/benchmarks/screenshots.py

clean:
	rm -rf .venv

# torch goes first and alone: with its exact version pip may take a build already on the machine.
.venv/.torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	touch $@

# .venv/.workflow, .venv/.test, .venv/.lint: the extra of that name is installed.
.venv/.%: .venv/.torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@
