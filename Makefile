# One word each; CI runs the same words. Needs git, make and Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins
# Every task is a process of its own: without compiled modules on disk, imports are most of a night.
export PYTHONDONTWRITEBYTECODE :=
# Nothing phones home. (MLFLOW_TRACKING_URI and NIGHTSHIFT_* of the user's own pass through: docs/how-to/production.md.)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false

# Side by side, the longest first; all of them run, so that a change meets all that they find at once.
LINTS := mypy forgotten english imports use-cases ruff format

.PHONY: help demo up repro check quick test test-slow faults lint new-stage bench lock clean $(LINTS:%=lint-%)

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/ready  ## train, register, promote, score four nights through Airflow, write a page; another table: make demo use_case=fraud
	$(BIN)/python -m deploy.embedded.demo $(if $(use_case),--use-case "$(use_case)")

up: .venv/ready    ## Airflow with all use cases: first nights if none is published, then the schedule; prints URLs and login, and stays
	$(BIN)/python -m deploy.embedded.up

repro: .venv/ready ## dvc repro of a use case without Airflow: make repro use_case=fraud stage=evaluate
	$(BIN)/python -m deploy.embedded.repro $(if $(use_case),--use-case "$(use_case)") $(stage)

# A file is one process's: what its tests share is started once. In the order of the tree, since the slow ones come first there.
# tests/test_makefile.py proves that every test is in exactly one of test, test-slow and faults, with any markers.
# The durations of all tests are in var/tests/<target>.xml.
PYTEST = $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=10 --junitxml=var/tests/$@.xml

check: lint quick  ## lint, and the quick tests without servers

quick: .venv/tests ## the quick tests without servers alone; lint runs two files of them
	$(PYTEST) --ignore=tests/test_house.py --ignore=tests/test_forgotten.py -m "not slow and not faults and not campaign and not integration and not costly" $(args)

test: .venv/tests  ## every test that a contributor must pass, with real servers
	$(PYTEST) -m "not slow and not faults and not campaign" $(args)

test-slow: .venv/tests ## the tests that CI runs as well: whole loops, rebuilds, replays, kills
	$(PYTEST) -m "(slow or faults) and not campaign" $(args)

faults: .venv/tests ## the whole fault campaign, before a merge that touches publishing, promotion or locks; writes var/faults/report.json
	$(BIN)/python -m pytest -q --junitxml=var/tests/$@.xml -m campaign $(args)

lint: .venv/tests  ## ruff, mypy, layers, names, and what was forgotten
	@$(MAKE) --no-print-directory --keep-going --jobs=2 $(LINTS:%=lint-%)

lint-mypy: ; $(BIN)/mypy
lint-forgotten: ; $(BIN)/python -m pytest -q tests/test_house.py tests/test_forgotten.py
lint-english: ; $(BIN)/python -m tests.english
lint-imports: ; $(BIN)/lint-imports
lint-use-cases: ; $(BIN)/python -m pipelines.use_case check --config-only
lint-ruff: ; $(BIN)/ruff check .
lint-format: ; $(BIN)/ruff format --check .

new-stage: .venv/tests ## add a stage: make new-stage name=summarize package=scoring dag=nightly_batch_scoring after=publish_scores
	$(BIN)/python -m scaffold.new_stage $(foreach key,name package dag after reads,--$(key) "$($(key))")

bench: .venv/tests ## all benchmarks, or one: make bench only=scoring
	$(BIN)/python -m benchmarks $(if $(only),--only $(only))

lock: .venv/uv     ## resolve requirements.in and tests/requirements.in again
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" tests/requirements.in -o tests/requirements.txt

clean:           ## remove this installation's state, not the environment
	rm -rf var

.venv/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say which with: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@touch $@

.venv/ready: requirements.txt | .venv/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

.venv/tests: tests/requirements.txt .venv/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r tests/requirements.txt
	@touch $@
