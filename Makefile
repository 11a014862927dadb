# Every habit of the project. Needs bash, git and Python 3.11 or newer; the rest is brought here.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve azure-demo image image-test rollout-test rollout-demo test bench bench-quick check hooks lock lock-peers parts environment

HOST := 127.0.0.1
PORT ?= 3000
UPGRADE :=
BASE_IMAGE ?=
IMAGE_OPTIONS ?=
BENCH_OPTIONS ?=
export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := true

BIN := .venv/bin
OWN_UV := .uv/bin/uv
# A shim may be on PATH without the tool behind it, so it is asked for its version.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(OWN_UV))
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes --no-header
# venv, which brings uv where there is none, is a package of its own on Debian.
NEEDED := $(if $(filter $(OWN_UV),$(UV)),sys; import ensurepip,sys)

define find_python
python=; for name in python3 python3.11 python3.12 python3.13 python3.14; do \
  if "$$name" -c "import $(NEEDED); sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; \
  then python=$$name; break; fi; done; \
if [ -z "$$python" ]; then \
  echo "Python 3.11 or newer with venv is missing (Debian: python3, python3-venv)" >&2; exit 1; fi
endef

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 20

serve: environment  ## serve on HOST (127.0.0.1) and PORT (3000)
	exec $(BIN)/bentoml serve --host "$(HOST)" --port "$(PORT)"

azure-demo: environment  ## register, import and serve a model of Azure ML, which is played here
	$(BIN)/python -m tests.azure.demo

image: environment  ## build the image of this clone and the newest stored model, with Docker
	$(BIN)/python scripts/build_image.py $(if $(BASE_IMAGE),--base-image "$(BASE_IMAGE)") $(IMAGE_OPTIONS)

image-test: environment  ## check that image, then what builds, checks and publishes images
	$(BIN)/python scripts/check_image.py
	$(BIN)/python -m pytest tests/image

rollout-test: environment  ## roll out real versions behind a real nginx, good ones and each kind of bad
	$(BIN)/python -m pytest tests/rollout

rollout-demo: environment  ## show a good rollout and a bad one, in less than three minutes
	$(BIN)/python -m tests.rollout.demo

test: environment  ## run every other test; print what they cover, served processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --ignore=tests/image --ignore=tests/rollout
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: environment  ## measure this project and its peers, in less than half an hour
	$(BIN)/python scripts/benchmark.py --readme $(BENCH_OPTIONS)

bench-quick: environment  ## the same, short: a few ratios, and whether they are far too low
	$(BIN)/python scripts/benchmark.py --quick --guard --output-folder .benchmark/quick $(BENCH_OPTIONS)

check: environment  ## run every hook on every file
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

hooks: environment  ## run the hooks before each commit from now on
	$(BIN)/pre-commit install

lock: $(filter $(OWN_UV),$(UV))  ## compile the locks; UPGRADE=--upgrade takes newer versions
	$(COMPILE) $(UPGRADE) pyproject.toml -o requirements/serving.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --group dev -c requirements/serving.txt -o requirements/dev.txt
	$(COMPILE) $(UPGRADE) --group rollout -c requirements/dev.txt -o requirements/rollout.txt
	$(COMPILE) $(UPGRADE) --group uv -o requirements/uv.txt

lock-peers: $(filter $(OWN_UV),$(UV))  ## compile the locks of the benchmark's peers
	for peer in benchmarks/peers/*/; do \
	  $(COMPILE) $(UPGRADE) $$peer/requirements.in -o $$peer/requirements.txt \
	    $$([ ! -e $$peer/overrides.txt ] || echo --override $$peer/overrides.txt); done

parts:  ## install with apt what tests run: Docker, compose, a registry, Prometheus, nginx
	bash .ci/install

environment: .venv/stamp  ## lay .venv from the lock, if it is missing or stale

.venv/stamp: requirements/dev.txt pyproject.toml | $(filter $(OWN_UV),$(UV))
	@$(find_python); [ -x $(BIN)/python ] || $(UV) venv --quiet --clear --python "$$python" .venv
	$(UV) pip sync --require-hashes --python .venv requirements/dev.txt
	$(UV) pip install --no-deps --no-build-isolation --python .venv -e .
	@touch $@

$(OWN_UV): requirements/uv.txt
	@$(find_python); "$$python" -m venv .uv
	.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@
