# The two commands are `make book` and `make test`; `make` alone lists all.

PYTHON ?= python3
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
WORKERS ?= 2
LIMIT ?= 300
EXPERIMENTS ?= $(BIN)/prunekit reproduce live --setting digits --results $(BUILD)/results

BIN := .venv/bin
BUILD := _build
TORCH := $(shell grep -E '^(torch|torchvision)==' constraints.txt)
# An index that cannot be reached would otherwise be asked again and again.
OFFER := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 0 --timeout 15)
STARTED := $(shell date +%s)
ONLINE := $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(BRANCH),--branch $(BRANCH))

# The live networks are so small that a second thread gains little, and on a busy machine costs dearly.
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PLATFORM_DIRS := 1

.DEFAULT_GOAL := help
.PHONY: help env book pdf student slides colab notebooks test lint bench-env lock clean

help:  ## print this list
	@echo "make book       run the experiments on digits and every notebook, build the site in $(BUILD)/html"
	@echo "make pdf        make book, and print it into $(BUILD)/book.pdf; needs Chromium"
	@echo "make student    notebooks without solutions, and a zip of them, in $(BUILD)/student; BOOK=address for its links"
	@echo "make slides     a deck of slides for each chapter, in $(BUILD)/html/slides; make book makes them, too"
	@echo "make colab      copies of the notebooks that run on Colab; REPOSITORY=https://github.com/owner/name, also for make book"
	@echo "make test       check everything: style, spelling, types, tests, notebooks, site and its links"
	@echo "make env        set up .venv; TORCH_INDEX= takes torch with CUDA, PYTHON=... another interpreter"
	@echo "make notebooks  execute the notebooks in place, to commit them"
	@echo "make lint       check style, spelling and types only"
	@echo "make bench-env  get Torch-Pruning and timm into $(BUILD), to measure with"
	@echo "make lock       resolve pyproject.toml again and write constraints.txt"
	@echo "make clean      remove what was built; .venv stays"

env: .venv/made

.venv/made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "prunekit needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another: make env PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	  echo "The environment could not be made. On Debian or Ubuntu, the package python3-venv is needed."; exit 1; }
	@echo "Installing torch."
	@$(BIN)/python -m pip install --no-deps $(OFFER) $(TORCH)
	@echo "Installing everything else."
	@$(BIN)/python -m pip install -c constraints.txt -e '.[book,test,dev]'
	@touch $@

book: env
	@$(BIN)/python book/scripts/experiments.py --to $(BUILD)/results $(EXPERIMENTS)
	@$(BIN)/python book/scripts/execute.py --limit $(LIMIT) --results $(BUILD)/results --to $(BUILD)/notebooks notebooks
	@$(BIN)/python book/scripts/website.py --notebooks $(BUILD)/notebooks --results $(BUILD)/results --to . --started $(STARTED) \
	  $(ONLINE)

pdf: book
	@$(BIN)/python book/scripts/pdf.py --site $(BUILD)/html --to $(BUILD)/book.pdf

student: env
	@$(BIN)/python book/scripts/student.py $(if $(BOOK),--book $(BOOK)) --to $(BUILD)

slides: env
	@$(BIN)/python book/_ext/decks.py --to $(BUILD)/html/slides

colab: env
	@$(BIN)/python book/scripts/online.py $(ONLINE)

notebooks: env
	@$(BIN)/python book/scripts/execute.py --limit $(LIMIT) --in-place notebooks

lint: env
	@failed=0; $(BIN)/ruff check . || failed=1; $(BIN)/codespell || failed=1; $(BIN)/pyright || failed=1; exit $$failed

test: env
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	$(BIN)/codespell || failed="$$failed codespell"; \
	$(BIN)/pyright || failed="$$failed pyright"; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile \
	  --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 120 \
	  tests notebooks || failed="$$failed pytest"; \
	test -z "$$failed" || { echo "make test: failed in$$failed, see above"; exit 1; }

bench-env: env
	@$(BIN)/python -m pip install --no-deps --target $(BUILD)/torch-pruning torch-pruning==1.6.1
	@$(BIN)/python -m pip install --no-deps --target $(BUILD)/timm timm==1.0.31

lock:
	@rm -rf $(BUILD)/lock && $(PYTHON) -m venv $(BUILD)/lock
	@$(BUILD)/lock/bin/python -m pip install --no-deps $(OFFER) $(TORCH)
	@$(BUILD)/lock/bin/python -m pip install -e '.[book,test,dev]'
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BUILD)/lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+[^;]*//'; } > $(BUILD)/constraints.txt
	@mv $(BUILD)/constraints.txt constraints.txt

clean:
	rm -rf $(BUILD) .pytest_cache .ruff_cache .hypothesis prunekit.egg-info
