# The commands for developers. `make demo` and `make test` install what they need.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -Eeuo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PORT ?= 8080
MODEL ?= model/toy
BASE ?=
CPU ?=
HOOKS ?=
CODE ?=
export PYTHON
BIN := .venv/bin
# Two a core, since many tests wait for containers and time limits; each may use a gigabyte or two.
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 2 ? 2 : 4)))
# Libraries write their caches into the checkout.
export XDG_CACHE_HOME := $(CURDIR)/build/cache
export MPLCONFIGDIR := $(CURDIR)/build/cache/matplotlib
export KERAS_HOME := $(CURDIR)/build/cache/keras
# Packages are compiled when they are imported first (scripts/install_python.sh).
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

.PHONY: help demo test soak check format bench replay image lock clean

help: ## list these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

.venv/ready: locks/dev.txt pyproject.toml scripts/install_python.sh
	@scripts/install_system.sh python
	@scripts/install_python.sh
	@touch $@

demo: .venv/ready ## train, export, serve and try a small detector (minutes; PORT=8080)
	@scripts/install_system.sh nginx
	@$(BIN)/python scripts/demo.py --port $(PORT)

test: check ## check, then every test, the images' included
	@scripts/install_system.sh docker registry || echo >&2 "make test: without a Docker engine the tests of the images are skipped"
	@scripts/install_system.sh podman || echo >&2 "make test: without podman the test of its pushes is skipped"
	@scripts/install_system.sh chromium || echo >&2 "make test: without Chromium the tests of the page are skipped"
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder \
	    --ignore tests/test_layout.py # check has run it

soak: .venv/ready ## the campaigns among the tests, at full length
	@PETBOX_SOAK=1 $(BIN)/python -m pytest -m soak --timeout 7200

check: .venv/ready ## style, types, scripts, nginx (under a minute)
	@scripts/install_system.sh nginx shellcheck
	@scripts/check.sh

format: .venv/ready ## format the Python code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

bench: .venv/ready ## run every benchmark and update bench/RESULTS.md (hours)
	@scripts/install_system.sh nginx hey
	@bench/all

replay: .venv/ready ## compare the embedded model server with recorded responses of TensorFlow Serving
	@$(BIN)/python scripts/replay.py

# The engine of petbox's own model server, for a detector of `petbox convert`.
has = $(if $(MODEL),$(shell find -L $(MODEL) -name code -prune -o -name $(1) -print -quit 2>/dev/null))
engine = $(if $(MODEL),$(if $(call has,saved_model.pb),,$(if $(call has,model.xml),openvino,$(if $(call has,model.tflite),litert))),$(ENGINE))

image: ## build the serving image (MODEL=model/toy, or MODEL= for none; CPU=1 needs no GPU; HOOKS=1 has Python; ENGINE=litert or openvino with MODEL=; BASE=IMAGE)
	@[ -z "$(MODEL)" ] || [ -n "$(engine)$(call has,saved_model.pb)" ] || { \
	    echo >&2 "make image: $(MODEL) contains no SavedModel and no detector of petbox convert; export one (make demo exports model/toy)," \
	        "or run make image MODEL= for an image that serves the model in /opt/ml/model"; exit 1; }
	@case "$(MODEL)" in "" | model | model/* | ./model | ./model/*) ;; *) \
	    echo >&2 "make image: $(MODEL) is outside of model/, which the build reads; copy it to model/NAME"; exit 1 ;; esac
	@case "$(ENGINE)" in "" | litert | openvino) ;; *) \
	    echo >&2 "make image: ENGINE=$(ENGINE) is neither litert nor openvino"; exit 1 ;; esac
	@[ -z "$(ENGINE)" ] || [ "$(ENGINE)" = "$(engine)" ] || { \
	    echo >&2 "make image: $(MODEL) is not for ENGINE=$(ENGINE); leave it out, the model decides"; exit 1; }
	docker build --file container/Dockerfile --tag petbox \
	    $(if $(MODEL),--build-arg MODEL=$(MODEL),--target without-model) \
	    $(if $(CPU),--build-arg GPU=) \
	    $(if $(engine),--build-arg ENGINE=$(engine) --build-arg BASE=$(or $(BASE),debian:12-slim),$(if $(BASE),--build-arg BASE=$(BASE))) \
	    $(if $(HOOKS),--build-arg HOOKS=1 $(if $(CODE),--build-arg CODE=$(CODE)) \
	        $(addprefix --build-arg PIP_,INDEX_URL EXTRA_INDEX_URL TRUSTED_HOST NO_INDEX)) .

clean: ## remove what the demo and the tests created; downloads stay
	rm -rf data/toy data/toy-records runs/toy runs/toy.unfinished model/toy demo build

lock: ## write locks/ from pyproject.toml (needs the package index)
	@scripts/lock.sh
