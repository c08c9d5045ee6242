# Every target works from a bare python3 (3.11 or newer) on a fresh machine.
# Another Python has an environment of its own beside: make test PYTHON=python3.13
PYTHON ?= python3
VENV   := .venv$(if $(filter-out python3,$(notdir $(PYTHON))),-$(notdir $(PYTHON)))
# The build that tests and benchmarks compare with. On a machine with its own PyTorch: make test TORCH=torch
TORCH  ?= torch==2.13.0
STEPS  ?=
BIN    := $(VENV)/bin
# Python compiles what is imported when it is first imported, which is a fraction of what is installed; but not if it
# may not write what it compiled: then each process would compile all of it again.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
RUN    := runs/gan

.PHONY: help environment run test check docs bench lint types imports smoke clean

help:  ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[all]"
	touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)"
	$(PIP) --editable ".[all,test]"
	touch $@ $(VENV)/.run

environment: $(VENV)/.test  ## install all that tests need

run: $(VENV)/.run  ## train the GAN on real digits and write a report to look at
	rm -rf $(RUN)
	$(BIN)/renga train gan --directory $(RUN) $(if $(STEPS),--steps $(STEPS))

test: $(VENV)/.test  ## run all tests, parity with the upstream packages included
	@command -v chromium >/dev/null || echo "no chromium: tests in a browser are skipped; on Debian: apt-get install chromium"
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(TESTS)

check: lint types imports test docs  ## everything that a change must pass

lint: $(VENV)/.test  ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test  ## check types
	$(BIN)/pyrefly check --summarize-errors

imports: $(VENV)/.test  ## check which package may import which
	$(BIN)/lint-imports

docs: $(VENV)/.test  ## build the documentation in docs/_build
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

bench: $(VENV)/.test  ## run the benchmarks; results go to benchmarks/results
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

smoke:  ## install the wheel in a clean environment and try every part of it
	PYTHON=$(PYTHON) .ci/smoke

clean:  ## forget everything that was built
	rm -rf .venv .venv-* build dist docs/_build runs
