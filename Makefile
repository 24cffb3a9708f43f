# Two commands: `make reproduce` and `make test`. Everything lives in .venv and results/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help reproduce test test-lowest bench bench-save exact bundle clean

# For `make bundle`: CONFIG=small DATA_ROOT=/data WITHOUT=torch,transformers OPTIONS='--python-version 3.12'
CONFIG ?= embedded

help:
	@echo "make reproduce   install, run the whole benchmark on the embedded data, print the table"
	@echo "make test        lint and the default test suite"
	@echo "make test-lowest the suite with the oldest packages that pyproject.toml allows (gigabytes)"
	@echo "make bench       micro-benchmarks, against this machine's baseline (docs/benchmarks.md)"
	@echo "make bench-save  the same, kept as the machine's baseline"
	@echo "make exact       renew the figures that no clock decides (benchmarks/exact.json)"
	@echo "make bundle CONFIG=small   pack it for a host without network, see docs/air-gapped.md"
	@echo "make clean       remove .venv and results of the embedded run"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qaprune needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	# torch first: once a version is there, no other package asks for a larger build of it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

reproduce: $(READY)
	$(BIN)/snakemake --cores all
	@$(BIN)/qaprune show results/embedded
	@echo "report: results/embedded/report.html"

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# An old torch comes with its CUDA packages.
test-lowest: $(READY)
	$(PYTHON) -m venv --clear build/lowest
	$(BIN)/python -m tests.lowest > build/lowest/constraints.txt
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check -c build/lowest/constraints.txt -e '.[dev]'
	build/lowest/bin/python -m pytest -n 2 --dist loadfile

# TOLERANCE=15 allows the quickest round to take 15 per cent longer; SAVE=1 is bench-save.
bench: $(READY)
	$(BIN)/python -m benchmarks.run $(if $(SAVE),--save) $(if $(TOLERANCE),--tolerance $(TOLERANCE))

bench-save: $(READY)
	$(BIN)/python -m benchmarks.run --save

exact: $(READY)
	$(BIN)/python -m benchmarks.exact --renew

bundle: $(READY)
	$(BIN)/qaprune bundle --config config/$(CONFIG).yaml --out bundle/$(CONFIG) \
		$(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") $(if $(WITHOUT),--without $(WITHOUT)) $(OPTIONS)

clean:
	rm -rf $(VENV) results/embedded
