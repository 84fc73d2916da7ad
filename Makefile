# Every target makes the environment first if it is missing. PYTHON chooses the interpreter, 3.11 to 3.13.
PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready

# Real data sets are used where they can be found; without them the cells and tests that need them are skipped.
RECBOOK_DATA  ?= $(abspath $(wildcard ../shared/data))
RECBOOK_CACHE ?= $(CURDIR)/.cache
export RECBOOK_DATA RECBOOK_CACHE
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

REAL     := $(if $(RECBOOK_DATA),real,)
CHAPTERS := $(sort $(wildcard nbs/*.ipynb))
RUN      := $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=3600 --ExecutePreprocessor.record_timing=False --log-level WARN

.PHONY: help env demo test check-source check-chapters check-wheel check-tests export book readme docs lab bench clean
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

env: $(READY) ## the environment, in .venv
$(READY): settings.ini setup.py pyproject.toml constraints.txt
	@echo '== environment: .venv, packages from constraints.txt (a few minutes the first time)'
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"recbook needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}; use make PYTHON=python3.12" if not (3, 11) <= v < (3, 14) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(READY) ## the main job on the embedded world: leader board, lists with reasons, report
	@echo '== recbook demo'
	@$(BIN)/recbook demo --out out

test: check-source check-chapters check-wheel check-tests ## every check
	@echo '== all checks passed'

check-source: $(READY)
	@echo '== source: nbdev_clean and nbdev_export leave the tree unchanged'
	@state() { cat nbs/*.ipynb recbook/*.py README.md | cksum; }; before=$$(state); \
	$(BIN)/nbdev_clean && $(BIN)/nbdev_export && $(MAKE) --no-print-directory readme && \
	test "$$before" = "$$(state)" || { echo 'nbs/, recbook/ or README.md were stale and have been refreshed: look at git diff and commit'; exit 1; }

check-chapters: $(READY)
	@echo '== chapters: $(words $(CHAPTERS)) notebooks'
	@$(if $(REAL),echo '   with the real data sets in $(notdir $(patsubst %/,%,$(dir $(RECBOOK_DATA))))/$(notdir $(RECBOOK_DATA))',echo '   SKIPPED: cells that need real data sets; set RECBOOK_DATA to run them')
	@# one thread a process; UMAP's compiler, numba, would raise the number for all that comes after it
	@OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --do_print --flags '$(REAL)'

check-wheel: $(READY)
	@echo '== wheel: built, installed alone with its base dependencies, and used'
	@sh tests/wheel.sh '$(PYTHON)'

check-tests: $(READY)
	@echo '== tests'
	@$(BIN)/pytest tests

export: $(READY) ## write recbook/ and README.md from the chapters
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export && $(MAKE) --no-print-directory readme

book: $(READY) ## run every chapter in place, in order, and save outputs
	@set -e; for chapter in $(CHAPTERS); do echo "== $$chapter"; $(RUN) $$chapter; done
	@$(MAKE) --no-print-directory export

readme: $(READY) ## README.md from nbs/index.ipynb
	@$(BIN)/jupyter nbconvert --to markdown --stdout --log-level ERROR nbs/index.ipynb | cat -s | sed -e 's#](images/#](nbs/images/#g' -e 's#](\([0-9a-z_]*\.ipynb\))#](nbs/\1)#g' > README.md

docs: $(READY) ## the website, in _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo 'make docs needs Quarto: see https://quarto.org/docs/get-started'; exit 2; }
	@$(BIN)/nbdev_docs

lab: $(READY) ## JupyterLab on the chapters
	@$(BIN)/jupyter lab --notebook-dir=nbs

bench: $(READY) ## the benchmarks (need real data, minutes each)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove what make made, the environment too
	rm -rf .venv .cache build dist *.egg-info _proc _docs out
