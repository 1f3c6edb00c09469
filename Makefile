# make zoom CONFIG=configs/noise_zoom.yaml    set up if needed, render, print where the files are
# make test                                   set up if needed, pass the tests
# TORCH_INDEX=https://... picks another package index for torch (CPU wheels, say).

PYTHON ?= python3
VENV   ?= .venv
CONFIG ?=
INPUT  ?=
GUIDE  ?=
# Paths go to the commands through the environment, as they were typed: neither make nor a shell
# looks into them.
override CONFIG := $(value CONFIG)
override INPUT := $(value INPUT)
override GUIDE := $(value GUIDE)
export CONFIG INPUT GUIDE

.PHONY: help setup zoom video gif seeds test limited check bench gpu clean
.DEFAULT_GOAL := help

help:
	@echo 'make zoom CONFIG=configs/noise_zoom.yaml       noise to a zoom video and a GIF'
	@echo 'make video INPUT=clip.mp4                       a video to a dream of itself'
	@echo 'make gif INPUT=clip.mp4                        a README-sized GIF of it (CONFIG=: dreamed first)'
	@echo 'make seeds INPUT=photo.jpg GUIDE=guide.jpg     every config of configs/seeds on a sheet (PREVIEW=1: small)'
	@echo 'make test | make check                         the tests | lint and types'

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml pipeline/engine/build_kernels.py $(wildcard pipeline/engine/*.[ch])
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed (make PYTHON=python3.12 ...)")'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[dev]'
	touch $@

zoom: setup
	@$(VENV)/bin/dream render "$${CONFIG:-configs/noise_zoom.yaml}"

video: setup
	@test -n "$$INPUT" || { echo 'which video? make video INPUT=clip.mp4' >&2; exit 2; }
	@$(VENV)/bin/dream render "$${CONFIG:-configs/video_dream.yaml}" --input "$$INPUT"

gif: setup
	@test -n "$$INPUT" || { echo 'which video? make gif INPUT=clip.mp4' >&2; exit 2; }
	@if test -n "$$CONFIG"; \
	then $(VENV)/bin/dream render "$$CONFIG" --input "$$INPUT" 'outputs=[{kind: gif, seconds: 6}]'; \
	else $(VENV)/bin/dream gif "$$INPUT"; fi

seeds: setup
	@set -- $(if $(PREVIEW),--preview); \
	test -z "$$INPUT" || set -- "$$@" --input "$$INPUT"; \
	test -z "$$GUIDE" || set -- "$$@" --guide "$$GUIDE"; \
	$(VENV)/bin/python scripts/seeds.py "$$@"

# Test processes side by side; one that is done takes over from another.
PARALLEL = -n auto --maxprocesses 4 --dist worksteal

test: setup
	$(VENV)/bin/python -m pytest $(PARALLEL)

LIMITED = $(addprefix tests/engine/test_,active.py ascent.py capabilities.py cpu_kernels.py dreamer.py \
	gradient.py kernels.py pooling.py stem.py tiles.py)

limited: setup # the engine's tests as on processors without AVX-512, and without AVX2
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(VENV)/bin/python -m pytest $(PARALLEL) $(LIMITED)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(VENV)/bin/python -m pytest $(PARALLEL) $(LIMITED)

bench: setup # WHAT=engine, plot, publish, coherence or camera; ROWS=B,F DEVICE=cuda of engine
	$(VENV)/bin/python scripts/bench.py $(or $(WHAT),engine) $(if $(ROWS),--rows $(ROWS)) $(if $(DEVICE),--device $(DEVICE))

gpu: setup # on a machine with one: its tests, its benchmark, and the tables of docs/performance.md
	FAIL_WITHOUT_CUDA=1 $(VENV)/bin/python -m pytest -m cuda
	$(VENV)/bin/python scripts/bench.py engine --device cuda
	$(VENV)/bin/python scripts/bench.py publish

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
