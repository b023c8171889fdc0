# The gates. Each sets up what it needs and does nothing twice; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup engine lint unit unit-oldest contract check sanity integration inference e2e test test-long bench docs build galaxy-importer publish actionlint molecule molecule-proof molecule-scenarios host-command site-venv up down destroy clean
MAKEFLAGS += --no-print-directory

PYTHON_BIN := build/venv/bin
# Which site `make up`, `down` and `destroy` are about.
INVENTORY ?= inventories/local
# What chance starts from in `make test`, so that what is red there is red for a change. The long tests draw a new one.
SEED := 224162132
# Integration tests that `make test` runs apart from the others, so that two processes have about as much to do.
OF_INFERENCE := $(patsubst %,tests/integration/test_%.py,api_keys gateway_role inference_role model_files \
  open_webui_role project_sleepers)
# These three need far less than the gates.
# Modules of a local connection inherit the environment: with a cache of its own, the system's Python compiles its whole
# library anew in every task.
OUTSIDE := env -u PYTHONPYCACHEPREFIX
PLAYBOOK := $(OUTSIDE) build/venv-site/bin/ansible-playbook
# Nothing that a tool caches or an unlucky plug-in finds comes from outside this checkout.
export PATH := $(CURDIR)/$(PYTHON_BIN):$(PATH)
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/cache/pyc
export ANSIBLE_HOME := $(CURDIR)/build/ansible-home
export PYTHONPATH :=

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: ## the venv in build/venv, with the newest Python at hand
	@tools/setup-venv

engine: ## a Docker engine and what the tests need, from Debian's packages (needs root)
	@tools/setup-engine

lint: setup ## ruff, mypy, yamllint, ansible-lint, shellcheck, changelog fragments
	ruff check
	ruff format --check
	mypy -p ansible_collections.modelyard.platform.plugins
	mypy -p modelyard_gateway
	mypy tests/support tests/benchmark tests/contract tests/conftest.py tests/integration/conftest.py tests/e2e tests/hosts tools/*.py
	MYPYPATH=extensions/molecule mypy extensions/molecule
	yamllint --strict .
	shellcheck $$(grep -slE '^#!/(bin/sh|bin/bash|usr/bin/env bash)' tools/* .ci/*)
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	antsibull-changelog lint
	ansible-lint --offline

unit: setup ## unit tests: no engine, no root
	pytest tests/unit

# The gateway runs in an image, which brings a Python of its own.
unit-oldest: setup ## the same on Python 3.10, the oldest that a host may have (needs it)
	@tools/setup-venv oldest
	PYTHONPATH=build/collections build/venv-oldest/bin/python -m pytest tests/unit --ignore tests/unit/gateway

contract: setup ## what must be true of the tree as a whole
	pytest tests/contract

check: setup ## all of the above, two at a time; no engine, below a minute
	$(MAKE) --jobs=2 --output-sync=target lint unit contract

sanity: setup ## ansible-test sanity, without ignore files
	python tools/sanity.py

integration: setup engine ## the modules on the system's Python against a real engine
	MODELYARD_TEST_SEED=$${MODELYARD_TEST_SEED:-$(SEED)} pytest tests/integration -m 'not long' $(INTEGRATION_ARGS)

inference: setup engine ## those of them that are about models behind keys
	MODELYARD_TEST_SEED=$${MODELYARD_TEST_SEED:-$(SEED)} pytest $(OF_INFERENCE) -m 'not long'

e2e: setup engine ## a whole site of its own, brought up, used by real clients, broken, removed; and on bare servers
	pytest tests/e2e tests/hosts -m 'not long' $(E2E_ARGS)

# The engine before sanity: with it comes the system's Python, on which sanity compiles and imports what runs on hosts.
# The last three wait as often as they work: two side by side they take less. What each says comes when it is through.
test: check docs engine sanity ## all tests, and the pages
	PYTHONPATH=tests:build/collections python -m support.prebuild
	@# Alone: Chromium gives up its requests whenever a network of this machine comes or goes, as those of tests do.
	pytest tests/e2e -m 'not long' -k browser
	@echo "The integration tests and those of whole sites run side by side, for half an hour; they say more at their end."
	$(MAKE) --jobs=2 --output-sync=target integration e2e inference \
	  INTEGRATION_ARGS="$(addprefix --ignore=,$(OF_INFERENCE))" E2E_ARGS="-k 'not browser'"

test-long: setup engine ## many kills, disks and engines that fail, bare hosts; its last result is in docs/long-tests.md
	pytest tests/integration tests/hosts tests/e2e -m long

bench: setup engine ## figures beside stock modules and plain Compose: table and build/benchmark.json
	PYTHONPATH=tests:build/collections:gateway python -m benchmark

docs: setup ## the pages and the reference as HTML: build/docs/html; a warning is an error
	@tools/setup-venv docs
	python tools/build_docs.py

build: setup ## the collection as Galaxy gets it, in build/artifact
	@rm -rf build/artifact
	ansible-galaxy collection build --output-path build/artifact

galaxy-importer: build ## Galaxy's own importer on that, here and in no container; a remark is an error
	@tools/setup-venv galaxy
	tools/galaxy-importer

publish: setup ## that on Galaxy: the variable TAG names the tag, such as v1.2.3, GALAXY_TOKEN whose right it is
	@tools/publish

actionlint: ## what is wrong with the workflows, as GitHub sees them (needs GitHub)
	@tools/setup-venv actionlint
	build/venv-actionlint/bin/actionlint

molecule-scenarios: ## the Molecule scenarios of this tree as a JSON list
	@tools/molecule-scenarios

molecule: setup engine ## all of them, each role on Debian 12 and 13, from hosts to their end; one: SCENARIO=default
	@tools/setup-venv molecule
	tools/molecule $(SCENARIO)

molecule-proof: setup engine ## that each fails without its role's main task, as a table; some: SCENARIO="postgres mlflow"
	@tools/setup-venv molecule
	python tools/prove_molecule.py $(SCENARIO)

host-command: setup ## the command for hosts, from the modules' own code: build/modelyard
	python tools/build_host_command.py

site-venv:
	@$(OUTSIDE) tools/setup-venv site

up: site-venv ## deploy the whole site on this machine (needs root); ARGS="--check --diff" only shows what it would do
	$(PLAYBOOK) site.yml -i $(INVENTORY) $(ARGS)

down: site-venv ## stop the site and keep all its data
	$(PLAYBOOK) site.yml -i $(INVENTORY) -e site_state=stopped $(ARGS)

destroy: site-venv ## ask, then remove the site with all its data, and nothing else
	$(PLAYBOOK) playbooks/destroy.yml -i $(INVENTORY) $(ARGS)

clean: ## remove what the gates made in this checkout; images and the engine stay
	rm -rf build .ansible tests/output
