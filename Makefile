# Everything a person or a CI calls. `make demo` needs only Python (>= 3.11) and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help demo demo-llm test test-llm test-ray lint families zoo bench specimens clean

FAMILIES := $(patsubst claims/families/%.yaml,%,$(wildcard claims/families/*.yaml))

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[run]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[run,images,diffusion,ray,s3,test,lint]'
	touch $@

demo: $(VENV)/.run  ## Run claims/quickstart.yaml on the specimens (about a minute)
	$(BIN)/threatspec run claims/quickstart.yaml --html runs/quickstart/report.html

demo-llm: $(VENV)/.run  ## Fetch a real chat model and run claims/smollm2-persona.yaml on it
	$(BIN)/threatspec models fetch smollm2
	$(BIN)/threatspec run claims/smollm2-persona.yaml --html runs/smollm2-persona/report.html

# Campaigns and browsers use all cores by themselves; everything else is shared out.
TOGETHER := tests/browser tests/campaign
APART := $(filter-out $(TOGETHER) tests/llm tests/ray tests/support tests/extension_package,$(patsubst %/,%,$(wildcard tests/*/)))

test: $(VENV)/.dev  ## All tests but those of the real chat model and of clusters
	$(BIN)/pytest -m 'not llm' $(TOGETHER)
	$(BIN)/pytest -m 'not llm' -n 2 --dist loadfile $(APART)

test-ray: $(VENV)/.dev  ## Campaigns on real Ray clusters of this machine
	$(BIN)/pytest -n 2 --dist loadfile tests/ray

test-llm: $(VENV)/.dev  ## The reduced campaign on the real chat model
	$(BIN)/threatspec models fetch smollm2
	$(BIN)/pytest -m llm

lint: $(VENV)/.dev  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

families: $(VENV)/.run  ## Run claims/families on the specimens and publish the results in reports/families
	set -e; for name in $(FAMILIES); do rm -rf runs/families/$$name; \
	  $(BIN)/threatspec run claims/families/$$name.yaml --out runs/families/$$name --exit-zero; \
	  $(BIN)/threatspec report runs/families/$$name --markdown reports/families/$$name.md \
	    --html runs/families/$$name/report.html > /dev/null; \
	done

zoo: $(VENV)/.run  ## Run claims/zoo.yaml, or go on with it, and publish reports/zoo.html and reports/zoo.md
	$(BIN)/threatspec run claims/zoo.yaml --out runs/zoo --exit-zero
	$(BIN)/threatspec report runs/zoo --matrix reports/zoo.html > /dev/null
	$(BIN)/threatspec report runs/zoo --matrix reports/zoo.md > /dev/null
	$(BIN)/python -m benchmarks.zoo runs/zoo

bench: $(VENV)/.dev  ## Print the ratios of benchmarks/ (lora_trial wants the extra `bench` too)
	$(BIN)/python -m benchmarks

specimens: $(VENV)/.run  ## Rebuild the specimens' weights from a seed
	$(BIN)/python -m threatspec.runners.build_specimens

clean:  ## Remove the environment and results
	rm -rf $(VENV) runs build dist *.egg-info
