# Everything a developer or a user's CI types. Variables in CAPITALS are the commands' flags.
HERE   := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
VENV   ?= $(HERE)/.venv
BIN    := $(abspath $(VENV))/bin
SERCTL := $(BIN)/serctl

.DEFAULT_GOAL := help
.PHONY: help setup demo results test test-slow test-slurm test-gpu lint types docs serve clean paper \
        init transcribe extract train export-logits stack evaluate report run bundle predict doctor

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(VENV)/.installed  ## create .venv and install everything, once
$(VENV)/.installed: $(HERE)/pyproject.toml $(HERE)/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "setup: serctl needs Python 3.11 or newer; name one with: make setup PYTHON=python3.12")'
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "setup: installing serctl[demo,report,docs,dev] in the versions of constraints.txt (about 3 GB, a few minutes)"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c $(HERE)/constraints.txt -e '$(HERE)[demo,report,docs,dev]'
	@$(BIN)/python -c 'import serctl.cli'
	@touch $@
	@echo "setup: done"

demo: setup  ## every step on synthetic speech; resumable
	@mkdir -p demo
	@cd demo && { test -f serctl.toml || $(SERCTL) init --corpus demo --root corpus; } && $(SERCTL) run demo

test: lint types  ## lint, types and the default tests (under four minutes)
	cd $(HERE) && OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup  ## the long trials (kills, sweeps)
	cd $(HERE) && $(BIN)/python -m pytest -m slow

test-slurm: setup  ## a recipe on a real Slurm (Debian: apt install slurm-wlm munge)
	cd $(HERE) && $(BIN)/python -m pytest -m slow -rs -k killed_task tests/pipeline/test_slurm.py

test-gpu: setup  ## five-minute self-check for whoever has a CUDA card
	cd $(HERE) && $(BIN)/python -m pytest -m gpu

lint: setup  ## ruff: rules and format
	cd $(HERE) && $(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup  ## mypy
	cd $(HERE) && $(BIN)/mypy

results: setup  ## docs/results.md on ../shared/data; resumable, hours
	cd $(HERE) && $(BIN)/python tests/benchmarks/bench_results.py $(ARGS)

bench-%: setup  ## bench-cache, -extract, -train, -evaluate, -scale: tables, last line JSON
	cd $(HERE) && $(BIN)/python tests/benchmarks/bench_$(subst -,_,$*).py

docs: setup  ## regenerate the generated pages and build the site into site/, strictly
	cd $(HERE) && $(BIN)/python -m typer serctl.cli utils docs --name serctl --output docs/cli.md
	cd $(HERE) && $(BIN)/python docs/_site/options.py && $(BIN)/python docs/_site/formats.py && $(BIN)/python docs/_site/architecture.py
	cd $(HERE) && NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

serve: setup  ## the documentation site on http://127.0.0.1:8000, rebuilt on every change
	cd $(HERE) && NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

clean:  ## remove the demo and what tools left; keeps .venv
	cd $(HERE) && rm -rf demo build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One target per subcommand, for a project folder's CI: make -f path/to/Makefile extract ENCODER=wavlm-large
flag = $(if $($1),--$2 $($1))
init: setup  ## CORPUS=emodb ROOT=/data/emodb
	$(SERCTL) init $(call flag,CORPUS,corpus) $(call flag,ROOT,root) $(ARGS)
transcribe: setup  ## MODEL=whisper-large-v3
	$(SERCTL) transcribe $(call flag,MODEL,model) $(ARGS)
extract: setup  ## ENCODER=wavlm-large
	$(SERCTL) extract $(call flag,ENCODER,encoder) $(ARGS)
train: setup  ## SPEECH=whisper TEXT=roberta PARALINGUISTIC=facodec LOSS=wce+sml
	$(SERCTL) train $(call flag,SPEECH,speech) $(call flag,TEXT,text) $(call flag,PARALINGUISTIC,paralinguistic) $(call flag,LOSS,loss) $(ARGS)
export-logits: setup  ## RUN=name
	$(SERCTL) export-logits $(RUN) $(ARGS)
stack: setup  ## STACK_ON=oof
	$(SERCTL) stack $(call flag,STACK_ON,stack-on) $(ARGS)
evaluate: setup  ## SPLIT=test
	$(SERCTL) evaluate $(call flag,SPLIT,split) $(ARGS)
report: setup  ## OUTPUT=report.html
	$(SERCTL) report $(call flag,OUTPUT,output) $(ARGS)
run: setup  ## RECIPE=recipe.toml
	$(SERCTL) run $(RECIPE) $(ARGS)
bundle: setup  ## NAME=random-forest OUTPUT=bundle
	$(SERCTL) bundle make $(NAME) $(call flag,OUTPUT,output) $(ARGS)
predict: setup  ## AUDIO=a.wav MODEL=bundle
	$(SERCTL) predict $(AUDIO) $(call flag,MODEL,model) $(ARGS)
doctor: setup  ## what is off on this machine, and what mends it
	$(SERCTL) doctor $(ARGS)
paper: setup  ## the paper's twelve models, stack and table, in a project folder
	$(SERCTL) run paper $(ARGS)
