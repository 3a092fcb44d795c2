# make quickstart   a textured GLB of a sample object from its posed views
# make test         all tests but the long ones
# make check        the long ones too: also the next two, where nvcc and the sanitizers are
# make check-blender   our GLB in Blender itself, from PyPI, in an environment of its own (GLB=FILE adds one of yours)
# make check-cuda   every .cu compiled for four GPUs, registers and spills (needs nvcc, no GPU)
# make sanitize     the operator tests under ASan and UBSan
# make benchmarks   every operator timed against its baseline
#
# Everything is set up into .venv of this checkout by the first target that needs it.
#   PYTHON=python3.12     another interpreter than python3
#   TORCH_INDEX=URL       a package index with the build of torch you want, for instance one for CPUs only
#   ASSET3D_CUDA=0|1      leave the CUDA kernels out, or insist on them

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
NODE := $(shell command -v npm)

.PHONY: help
help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# ---- set-up ---------------------------------------------------------------------------------------------------------
# One stamp per step, so that a second call costs nothing and a changed file repeats only what depends on it.

.PHONY: setup
setup: $(VENV)/built

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/torch: $(VENV)/created
	@echo "setup: torch"
	$(PIP) install torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@

$(VENV)/packages: requirements.lock $(VENV)/torch
	@echo "setup: other packages"
	$(PIP) install -r requirements.lock
	touch $@

# The emulated build runs the CUDA kernels on the CPU, for the tests.
$(VENV)/built: $(VENV)/packages setup.py pyproject.toml $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu')
	@echo "setup: building asset3d (one to five minutes, once)"
	ASSET3D_EMULATE=1 $(PIP) install --no-build-isolation --editable '.[test]'
	touch $@

# ---- using it -------------------------------------------------------------------------------------------------------

.PHONY: quickstart
quickstart: setup
	@output="$$PWD/outputs/quickstart/$$(date +%Y-%m-%d_%H-%M-%S)"; \
	$(RUN) -m asset3d.run quickstart output="$$output" >&2; \
	echo "$$output/result/asset.glb"

# What is generated from the components, after a change of a config or a docstring.
.PHONY: docs
docs: setup
	$(RUN) -m asset3d.schema docs/recipe.schema.json
	$(RUN) docs/make_reference.py docs/recipes.md

# ---- tests ----------------------------------------------------------------------------------------------------------

.PHONY: test
test: setup node
	$(RUN) -m pytest -m "not long" $(TESTS)

.PHONY: check
check: setup node
	$(RUN) -m pytest $(TESTS)

# Tools of other people that are run by tests, such as Khronos' validator of glTF files.
.PHONY: node
ifneq ($(and $(NODE),$(wildcard tests/node/package-lock.json)),)
node: tests/node/node_modules/.package-lock.json

tests/node/node_modules/.package-lock.json: tests/node/package-lock.json
	@cd tests/node && if npm ci --silent --no-audit --no-fund; then touch node_modules/.package-lock.json; \
	else echo "node: packages could not be fetched; the tests that need them are skipped"; fi
endif

# ---- Blender --------------------------------------------------------------------------------------------------------
# bpy runs on one version of Python and on NumPy 1 only, so that it gets an environment of its own.

BLENDER_PYTHON ?= python3.11

.venv-blender/ready:
	$(BLENDER_PYTHON) -m venv .venv-blender
	.venv-blender/bin/python -m pip --disable-pip-version-check --quiet install 'bpy==5.0.1' 'numpy<2'
	touch $@

.PHONY: check-blender
check-blender: setup .venv-blender/ready
	$(RUN) tests/blender/make_asset.py outputs/blender/painted.glb
	.venv-blender/bin/python tests/blender/check.py outputs/blender/painted.glb outputs/blender $(GLB)

# ---- kernels --------------------------------------------------------------------------------------------------------

.PHONY: check-cuda
check-cuda:
	$(PYTHON) csrc/check_cuda.py

.PHONY: sanitize
sanitize: setup
	$(RUN) tests/csrc/sanitize.py

.PHONY: benchmarks
benchmarks: setup
	$(RUN) benchmarks/run.py
