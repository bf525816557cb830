# Everything a developer does starts here; `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# With the hash of every file that may be installed, so that an altered one is refused.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
# Tests of the server that measure times.
TIMED := $(filter-out %_fuzz.py, $(wildcard tests/system/test_serving*.py))
CODE := labelwright model trainer gateway k8s charts benchmarks tests
PREDICTOR_IMAGE ?= labelwright/predictor:dev
TRAINER_IMAGE ?= labelwright/trainer:dev
CONTROLLER_IMAGE ?= labelwright/controller:dev
GATEWAY_IMAGE ?= labelwright/gateway:dev

# The base image by its digest: make images PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:…
PYTHON_IMAGE ?=
BASE := $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE))

.DEFAULT_GOAL := help
.PHONY: help setup demo check test images crds dashboards chart-docs test-cluster bench lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv from the lock files in requirements/

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed, found $$($(PYTHON) --version): make PYTHON=python3.11 setup"; exit 1; }
	@echo "Making .venv (a few minutes where nothing is cached: torch alone is 3 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## train on docstrings, serve, send requests (one minute)
	@$(BIN)/labelwright demo

check: $(READY) ## linters, types, layers, unit and contract tests: no network, no cluster
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/ruff check --quiet $(CODE)
	$(BIN)/mypy labelwright model trainer gateway k8s charts benchmarks
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 2 --quiet tests/unit tests/contract tests/chart

test: check ## check, plus the system tests on this machine: train, publish, serve, send requests
	# These measure times, so nothing else runs beside them.
	$(BIN)/pytest --quiet $(TIMED)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --quiet tests/system $(TIMED:%=--ignore=%)

images: ## build the images with docker (names: PREDICTOR_IMAGE=, TRAINER_IMAGE=, CONTROLLER_IMAGE=, GATEWAY_IMAGE=; base image: PYTHON_IMAGE=)
	@command -v docker >/dev/null || { echo "docker is not there: it builds the images from Dockerfile.serve and Dockerfile.train"; exit 1; }
	docker build $(BASE) --target predictor --file Dockerfile.serve --tag $(PREDICTOR_IMAGE) .
	docker build $(BASE) --file Dockerfile.train --tag $(TRAINER_IMAGE) .
	docker build $(BASE) --target controller --file Dockerfile.serve --tag $(CONTROLLER_IMAGE) .
	docker build $(BASE) --target gateway --file Dockerfile.serve --tag $(GATEWAY_IMAGE) .

crds: $(READY) ## generate the CRDs of the chart and of k8s/manifests from the types in k8s/controller/api/v1alpha1
	$(BIN)/python -m k8s.controller.api.crds

chart-docs: $(READY) ## generate the chart's schema and the table in its README from the comments in values.yaml
	$(BIN)/python charts/documentation.py

dashboards: $(READY) ## generate the Grafana dashboards of the chart from k8s/monitoring
	$(BIN)/python -m k8s.monitoring.dashboards

test-cluster: $(READY) ## test on the cluster of KUBECONFIG, which needs KServe and the images of MinIO, Valkey, Prometheus, Grafana, MLflow and Labelwright
	@test -n "$$KUBECONFIG" || { echo "KUBECONFIG is not set: it names the cluster to test on"; exit 1; }
	PREDICTOR_IMAGE=$(PREDICTOR_IMAGE) TRAINER_IMAGE=$(TRAINER_IMAGE) CONTROLLER_IMAGE=$(CONTROLLER_IMAGE) \
	  GATEWAY_IMAGE=$(GATEWAY_IMAGE) $(BIN)/pytest --quiet tests/cluster

bench: $(READY) ## measure the figures in the README (takes minutes; DATA= the folder with arxiv/ and products/)
	$(BIN)/python benchmarks/linear.py --dataset products
	$(BIN)/python benchmarks/linear.py --dataset arxiv
	$(BIN)/python benchmarks/transformer.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data.py --tokenise
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/serving.py

lock: $(READY) ## recompile requirements/ from pyproject.toml
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt \
	  --extra train --extra hf --extra kaggle pyproject.toml -o requirements/train.txt
	for purpose in serve gateway controller; do \
	  $(COMPILE) --constraint requirements/dev.txt \
	    --extra $$purpose pyproject.toml -o requirements/$$purpose.txt; done
	for each in torch uv; do echo $$each | $(COMPILE) --constraint requirements/dev.txt - -o requirements/$$each.txt; done
	echo 'setuptools>=77' | $(COMPILE) --constraint requirements/dev.txt - -o requirements/build.txt

clean: ## remove generated files, except .venv
	rm -rf demo models .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
