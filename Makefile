PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 0
# src/ goes onto the path itself; an import hook would lose to a folder called starft beside a script.
EDITABLE := --config-settings editable_mode=compat
# Two test processes of one thread each, for two cores; three took longer. Each takes whole files, whose tests share
# what is made once, the slow files first (tests/conftest.py).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo docs test coverage test-fast test-faults test-models test-servers check lint format type mini-pretrain clean

help:  ## list what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing starft, torch and what else it needs into $(VENV): once, some minutes ..."
	$(BIN)/pip install --quiet $(EDITABLE) --editable .
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing starft and all that tests and docs need into $(VENV): once, some minutes ..."
	$(BIN)/pip install --quiet $(EDITABLE) --editable '.[llm,hf,test,dev,docs]'
	@touch $@ $(VENV)/.run

install: $(VENV)/.run  ## make the virtual environment, with starft in it

demo: $(VENV)/.run  ## fine-tune on the embedded world and compare the methods (SEEDS=0,1,2 for more)
	$(BIN)/starft demo --seeds $(SEEDS)

docs: $(VENV)/.dev  ## build the documentation into site/, with no warning let pass
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs . site

test: $(VENV)/.dev  ## run every test
	$(PYTEST)

coverage: $(VENV)/.dev  ## run every test and tell which lines none ran; tracing takes four tenths more time
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=97

test-fast: $(VENV)/.dev  ## run the tests that take no training runs
	$(PYTEST) -m 'not slow'

test-faults: $(VENV)/.dev  ## damage files, kill commands and mutate configs by the hundred: half an hour
	OMP_NUM_THREADS=1 KILLS=$${KILLS:-30} $(BIN)/python -m pytest -s tests/prompting/test_killed.py tests/prompting/test_speed.py \
		tests/cli/test_tune_killed.py tests/campaigns/test_faults.py tests/campaigns/test_mutated_configs.py

test-models: $(VENV)/.dev  ## hold every model of open_clip, made small, against open_clip's own code (minutes)
	$(PYTEST) tests/campaigns/test_models.py

# Real servers live in an environment of their own that takes torch from the tests'; what can't be installed is skipped.
SERVERS := .venv-servers
$(SERVERS)/.run: Makefile | $(VENV)/.dev
	$(PYTHON) -m venv $(SERVERS)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$($(SERVERS)/bin/python -c \
		"import sysconfig; print(sysconfig.get_path('purelib'))")/tests.pth
	-$(SERVERS)/bin/pip install --quiet xllamacpp gguf
	-$(SERVERS)/bin/pip install --quiet 'transformers[serving]'
	@touch $@

test-servers: $(SERVERS)/.run  ## try the prompt stage on real servers of language models (minutes)
	STARFT_SERVERS=$(CURDIR)/$(SERVERS)/bin/python $(BIN)/python -m pytest -v -rs tests/campaigns/test_servers.py

check: lint type test-fast  ## what a contributor runs before a commit

lint: $(VENV)/.dev  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.dev  ## check types, strictly
	$(BIN)/mypy

mini-pretrain: $(VENV)/.run  ## pre-train the CLIPs of the embedded worlds anew (about 50 minutes on 2 cores)
	$(BIN)/starft fit --config lightning_configs/mini/pretrain.yaml
	$(BIN)/python -m starft.mini.weights runs/mini/pretrain/checkpoints/last.ckpt
	$(BIN)/starft fit --config lightning_configs/mini/pretrain_weak.yaml
	$(BIN)/python -m starft.mini.weights runs/mini/pretrain_weak/checkpoints/last.ckpt --tag mini_weak
	$(BIN)/starft fit --config lightning_configs/mini/pretrain_looks.yaml
	$(BIN)/python -m starft.mini.weights runs/mini/pretrain_looks/checkpoints/last.ckpt --tag mini_looks

clean:  ## remove the virtual environment, build output and caches (runs/ stays)
	rm -rf $(VENV) $(SERVERS) build dist site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
