PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.DEFAULT_GOAL := help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 18

setup: $(VENV)/.installed  ## make .venv and install everything, once
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "setup: making $(VENV) with $$($(PYTHON) --version) (about 3 GB, a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "setup: serctl needs Python 3.11 or newer; name one with PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@echo "setup: installing serctl[demo,report,dev] with the versions of constraints.txt"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo,report,dev]' 2>&1 | { grep -v 'is ignored: it is neither' || true; }
	@$(BIN)/python -c 'import serctl, torch, transformers, zarr'
	@touch $@
	@echo "setup: done"
