# Targets for people and for CI. Works with an empty HOME, a bare PATH and spaces in the path of the checkout.
SHELL := /bin/sh
PYTHON_IN_VENV := .venv/bin/python
# Three processes, even on two cores, because many tests wait for other processes; whole files each, in the order that
# tests/conftest.py gives them.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
ARGS ?=
# What the operator keeps in .env must not reach the checks.
CLEAN := AGENTGRID_READ_DOTENV=False

.DEFAULT_GOAL := help
.PHONY: help demo demo-github demo-team up agents-install test test-clis check static lint imports types perf format migrations clean runtime dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: runtime ## a small project's issue becomes merged work, on this machine, in about a minute
	@$(PYTHON_IN_VENV) manage.py demo $(ARGS)

demo-github: runtime ## the flow on a GitHub of our own: label, sub-issues, pull request, review, merge
	@$(PYTHON_IN_VENV) manage.py demo_github $(ARGS)

demo-team: runtime ## agents that want the same file, a decision, both changes merged; an upgrade; the budget's ledger
	@$(PYTHON_IN_VENV) manage.py demo_team $(ARGS)

up: runtime ## run web, control, executions and beat; Ctrl-C stops them
	@$(PYTHON_IN_VENV) manage.py up $(ARGS)

agents-install: runtime ## install claude, codex, opencode and gemini at the checked versions from npm (ARGS='NAME …')
	@$(PYTHON_IN_VENV) manage.py agents install $(ARGS)

# Compiled first: tests start hundreds of processes, and each would compile our modules anew.
test: static ## every check, then every test: what CI runs (PYTEST_ARGS='-k name')
	@$(PYTHON_IN_VENV) -m compileall -q -x demo/repository manage.py agentgrid bench coordinator grid tracker tests
	@$(CLEAN) PYTHONDONTWRITEBYTECODE= $(PYTHON_IN_VENV) -m pytest $(PYTEST_ARGS)

test-clis: dev ## the tests of the coding CLIs themselves; they need `make agents-install`
	@$(CLEAN) PYTHONDONTWRITEBYTECODE= $(PYTHON_IN_VENV) -m pytest -m clis tests/acceptance $(ARGS)

check: static ## every check without the tests

static: dev lint imports types
	@$(CLEAN) DATABASE_URL=sqlite://:memory: $(PYTHON_IN_VENV) manage.py makemigrations --check --dry-run

lint: dev ## ruff: rules and formatting
	@$(PYTHON_IN_VENV) -m ruff check .
	@$(PYTHON_IN_VENV) -m ruff format --check .

imports: dev ## the walls between the packages
	@PYTHONPATH=. .venv/bin/lint-imports

types: dev ## mypy, strict
	@$(CLEAN) $(PYTHON_IN_VENV) -m mypy

perf: runtime ## measure against raw floors in the same run (ARGS='NAME … --json')
	@$(PYTHON_IN_VENV) manage.py perf $(ARGS)

format: dev ## rewrite the code in our format
	@$(PYTHON_IN_VENV) -m ruff check --fix .
	@$(PYTHON_IN_VENV) -m ruff format .

migrations: dev ## write migrations for changed models (ARGS='grid --name what_changed')
	@$(CLEAN) DATABASE_URL=sqlite://:memory: $(PYTHON_IN_VENV) manage.py makemigrations $(ARGS)

clean: ## remove the virtual environment and caches; keeps var/ (your data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@.ci/make-venv runtime

dev:
	@.ci/make-venv dev
