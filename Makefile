# `make help` lists the targets. They run in .venv, which is built on first use.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := src
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help repro test test-fast test-ray lint ui experiments metrics docs dag lock plots-page demo-data demo-model clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("abo-vqa needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores; some packages have files for other Pythons
	touch $@

repro: $(VENV)/installed ## set up, run the experiment and open its report
	@abo-vqa repro --open

# Three processes even on two cores: tests of whole pipelines wait a third of the time, for DVC, servers and the disk.
test: $(VENV)/installed ## set up and run every test
	pytest -n 3 --no-loadscope-reorder --durations=40

test-fast: $(VENV)/installed ## run the tests that are not marked slow
	pytest -n 3 --no-loadscope-reorder -m "not slow"

$(VENV)/ray: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[ray]' --no-build-isolation
	touch $@

test-ray: $(VENV)/ray ## install the extra ray and run the tests of several machines
	pytest -n 0 tests/abo_vqa/generators/test_vlm_remote.py tests/abo_vqa/inference/test_remote.py
	pytest -n 0 tests/abo_vqa/generators/test_vlm.py -k two_workers

lint: $(VENV)/installed ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

experiments: $(VENV)/installed ## list the experiments, the best by validation accuracy first
	abo-vqa sweep

metrics: $(VENV)/installed ## the accuracies beside those of the last commit, unchanged ones too
	dvc metrics diff --all

# Without the end of the address MLflow 3.17 opens on an empty page of traces.
ui: $(VENV)/installed ## start the MLflow UI on http://127.0.0.1:5000
	@echo 'The runs: http://127.0.0.1:5000/#/experiments/1?workflowType=machine_learning'
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port 5000

docs: $(VENV)/installed ## build the documentation as a site: python -m http.server -d site shows it
	test -x $(VENV)/bin/mkdocs || $(VENV)/bin/python -m pip install --quiet --constraint requirements.lock --no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo 'site/index.html; with search: python -m http.server -d site'

dag: $(VENV)/installed ## draw the stages of dvc.yaml into docs/pipeline.svg
	python docs/draw_pipeline.py

plots-page: $(VENV)/installed ## rebuild .dvc/plots/page.html, so that `dvc plots` works offline (needs npm)
	python .dvc/plots/make_page.py

demo-data: $(VENV)/installed ## redraw the demo catalog (the same bytes as the committed one)
	python -m abo_demo.catalog --out data

demo-model: $(VENV)/installed ## pre-train the demo's base model again into models/pretraining (about an hour on two cores)
	python -m abo_demo.pretrain

lock: ## resolve the dependencies of pyproject.toml into requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[encoder,test,lint]'
	{ echo '# Exact versions of everything installed; made by `make lock` from pyproject.toml.'; \
	  echo '# triton has none: every build of torch brings the one that it was made with.'; \
	  .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude abo-vqa --exclude triton | sed 's/+cpu//'; } > requirements.lock
	rm -rf .venv-lock build src/*.egg-info

clean: ## remove the outputs of the pipeline, but not the DVC cache or the MLflow store
	rm -rf tables reports models/adapters models/checkpoints
