# The tasks of a developer. Each sets up what it needs: on Debian as root everything, else it says what to install.
# Stamps under .venv/ remember what was done, so that a second call starts at once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check --retries 5
BIND   ?= 127.0.0.1:8000

SOURCES := $(wildcard csrc/*.c csrc/*.h csrc/*/*.c csrc/*/*.h)
C_FILES := $(SOURCES) $(wildcard bench/*.c fuzz/*.c tests/*/*.c)
TYPED   := shmchan $(wildcard tests)  # cli, examples and bench are seen through the links in shmchan/

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.built ## serve the example chat on http://127.0.0.1:8000 (elsewhere: make run BIND=HOST:PORT)
	@exec $(BIN)/shmchan run examples.chat --bind $(BIND)

test: $(VENV)/.tools lint browser ## lint, then every test (some of them only: make test ARGS="-k name")
	@exec $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.tools ## ruff, mypy and clang-format; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(if $(C_FILES),$(BIN)/clang-format --dry-run -Werror $(C_FILES))

format: $(VENV)/.tools ## put Python and C into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))

build: $(VENV)/.built ## compile the extension modules in place

clean: ## remove everything that was built, the virtual environment too
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis shmchan/_core.c shmchan/_frames.c
	find shmchan -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the targets above stand on ------------------------------------------------------------------------------------

$(VENV)/.made: scripts/make-venv
	scripts/make-venv $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml setup.py
	$(PIP) install 'setuptools>=77' wheel 'cffi>=1.17'
	$(PIP) install --no-build-isolation --editable .
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace >/dev/null
	@touch $@

$(VENV)/.tools: $(VENV)/.built
	$(PIP) install --no-build-isolation --editable '.[test,lint,docs]'
	@touch $@

browser:
	@scripts/find-browser

.PHONY: help run test lint format build clean browser

# More targets: storm, fuzz, soak, docs, bench -----------------------------------------------------------------------
-include scripts/*.mk
