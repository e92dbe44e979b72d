# `make` alone lists the commands. Needs Python 3.11 with venv, and a package index for the first `make setup`.

SIZE ?= quick
SEEDS ?= 1
VENV := .venv
PYTHON ?= $(shell for python in python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$$python" && break; done)

RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check
# A worker a core; what stands in one file runs on one of them, since its tests share what they trained.
PYTEST := $(RUN) -m pytest --numprocesses auto --dist loadfile
FETCH := import sys; sys.argv = ["make setup"]; from paddledistill import assets, cli; \
	cli.run(lambda _: assets.fetch_all(), cli.Parser("fetch the embedded assets"))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all lint format tables clean distclean

help: ## list these commands
	@echo 'usage: make COMMAND [SIZE=quick|full] [SEEDS=1,2,3] [PYTHON=python3.11]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## install everything into .venv, fetch the embedded assets (1.9 GB, some minutes; once)
	@$(RUN) -c '$(FETCH)'

demo: setup ## the whole job: teacher, augmented data, students, comparison (SIZE=full: all of the text; SEEDS=1,2,3)
	$(RUN) examples/quickstart/demo.py --size $(SIZE) --seeds $(SEEDS)

test: setup ## the tests without the slow ones
	$(PYTEST) -m "not slow"

test-slow: setup ## the slow tests only
	$(PYTEST) -m slow

test-all: setup ## all tests
	$(PYTEST)

lint: $(VENV)/.installed ## check style (ruff) and types (mypy)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/.installed ## put the code into the style that `make lint` asks for
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

tables: $(VENV)/.installed ## render the tables of the READMEs from docs/results/
	$(RUN) docs/render_tables.py

DEMO_TEACHERS := $(foreach size,movie-reviews movie-reviews-full,pretrained_models/$(size) pretrained_models/$(size)-seed-[0-9]*)

clean: ## remove runs/, the demo's teachers and caches of tools; keeps .venv and the fetched assets
	rm -rf runs $(DEMO_TEACHERS) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too (the assets stay in ~/.cache/paddledistill)
	rm -rf $(VENV) paddledistill.egg-info

# Touched last, so that an installation which broke off is done again; so is one older than its pins.
$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/pip
	@echo 'installing into $(VENV): about 1.9 GB, some minutes'
	$(INSTALL) "$$(grep '^pip==' requirements.txt)"
	$(INSTALL) -r requirements.txt -c constraints.txt
	@PYTHONWARNINGS=ignore $(INSTALL) --no-deps --no-build-isolation --editable .
	@$(RUN) -m pip check
	@touch $@

$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 found: install it, or name it with PYTHON=' >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo 'make: $(PYTHON) is not Python 3.11, which the pinned packages need: name one with PYTHON=' >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'make: $(PYTHON) cannot make a .venv: install its venv module (Debian, Ubuntu: python3.11-venv)' >&2; exit 2; }
	"$(PYTHON)" -m venv --clear $(VENV)
