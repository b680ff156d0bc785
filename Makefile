# Everything runs in .venv, which any target makes first. Paths below are relative, so the checkout may lie anywhere, also in "a folder with spaces".

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help venv check test coverage schedules bench demo story format lock clean FORCE

BIN := .venv/bin
READY := .venv/ready
PYTHON ?=
WORKERS ?= logical
ARGS ?=
SEEDS ?= 500
DATABASE ?=
PORT ?=

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## Make .venv with everything pinned (PYTHON=… chooses the Python)

check: $(READY) ## Format, lint, types and who imports whom: what CI checks before the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY) ## Every test, with its own servers (ARGS='-k money' for some, WORKERS=0 for one process)
	$(BIN)/pytest -n $(WORKERS) --maxprocesses 8 $(ARGS)

coverage: $(READY) ## Every test, and 100 % of the branches of domain/ and jobs/money.py
	$(BIN)/coverage erase
	$(BIN)/pytest -n $(WORKERS) --maxprocesses 8 --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --include='connector/domain/*,jobs/money.py' --fail-under=100

schedules: $(READY) ## Crashes, pauses and races at random (SEEDS=10000 DATABASE=postgresql://…, else a fresh SQLite)
	$(BIN)/python -m tests.schedules --seeds '$(SEEDS)' $(if $(DATABASE),--database '$(DATABASE)',--jobs 2) $(ARGS)

bench: $(READY) ## Measure it on this machine: five minutes, one table (ARGS=--quick for one minute; see bench/README.md)
	$(BIN)/python -m bench $(ARGS)

demo: export PORT := $(PORT)
demo: $(READY) ## All of Retour with a simulated shop, to click through (PORT=9000 moves it; Ctrl-C stops it)
	@$(BIN)/retour demo $(ARGS)

story: $(READY) ## One return on a genuine order, told as a story, with a worker killed half-way
	$(BIN)/retour story $(ARGS)

format: $(READY) ## Let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Resolved for every supported Python and platform. --no-config and the bare environment keep a developer's own index out of the files.
UV := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --no-config \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	$(if $(UPGRADE),--upgrade)

lock: $(READY) ## Pin what pyproject.toml asks for in requirements/ (UPGRADE=1 takes newer releases)
	$(UV) --output-file requirements/requirements-build.txt --group pyproject.toml:build
	$(UV) --output-file requirements/requirements.txt pyproject.toml
	$(UV) --output-file requirements/requirements-dev.txt pyproject.toml --group pyproject.toml:dev \
		--constraint requirements/requirements-build.txt --constraint requirements/requirements.txt

clean: ## Remove .venv, caches and what was built
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment
#
# The project is installed editable, so that `retour` and its version are found from any directory, as in production; without build
# isolation, so that nothing unpinned is fetched. Two dependencies come as source only and are built by the pinned setuptools.

PIP := $(BIN)/python -m pip install --quiet --quiet --no-input --disable-pip-version-check

# A virtual environment does not survive a move of the checkout: its place is noted in the stamp.
ifneq ("$(shell cat $(READY) 2>/dev/null)","$(CURDIR)")
$(READY): FORCE
endif

$(READY): requirements/requirements-build.txt requirements/requirements-dev.txt pyproject.toml
	@if [ -f $(READY) ] && [ "$$(cat $(READY))" != "$$PWD" ]; then echo 'The checkout was moved: making .venv anew.'; rm -rf .venv; fi
	@$(BIN)/python -c 'import sys, pip' 2>/dev/null || { $(FIND_PYTHON); rm -rf .venv; echo "Making .venv with $$python."; "$$python" -m venv .venv; }
	@echo 'Installing what requirements/ pins.'
	@$(PIP) --require-hashes --only-binary :all: -r requirements/requirements-build.txt
	@$(PIP) --require-hashes --no-build-isolation -r requirements/requirements-dev.txt
	@PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	@printf '%s\n' "$$PWD" > $(READY)

# Sets $python, or ends with what to do. Debian has venv in a package of its own, which only root can install.
define FIND_PYTHON
	fits='import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; python=; \
	for each in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if "$$each" -c "$$fits" 2>/dev/null; then \
			python=$${python:-$$each}; \
			if "$$each" -c 'import ensurepip, venv' 2>/dev/null; then python=$$each; break; fi; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'Retour needs Python 3.11, 3.12 or 3.13, and none was found. On Debian and Ubuntu: apt-get install python3 python3-venv;' >&2; \
		echo 'on macOS: brew install python@3.13; or name one: make PYTHON=/path/to/python3.12 …' >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package."; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$package" >/dev/null || exit 1; \
		else \
			echo "$$python lacks venv. Run this once: sudo apt-get install $$package" >&2; exit 1; \
		fi; \
	fi
endef
