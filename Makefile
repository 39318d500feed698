# make run                   a real heart, then the phantom, quick settings: notebooks executed into runs/quick/
# make sample                a real examination on one page, runs/sample.html
# make run PROFILE=acdc      the same notebooks with profiles/acdc.yaml
# make plan COHORT_SIZE=65000 what a study of that size costs, from a small one that it runs first
# make fuzz MINUTES=30       damaged DICOM and NIfTI for half an hour
# make test                  all tests; real data too, where CMR_DATA_DIR names a folder;
#                            notebooks in a browser too, where Chromium, node and playwright-core (NODE_PATH) are
# make lab                   JupyterLab in the same environment; in a container: make lab LAB="--allow-root --no-browser"
# make readme, make gallery  the README's numbers and pictures from the runs
# make weights               all sets that travel with the package, trained anew (hours; needs CMR_DATA_DIR)
# make lint, make lock       ruff; a new requirements.lock from pyproject.toml
#
# A fresh machine needs Python 3.11 or newer, make and git; everything else comes into .venv.

PROFILE ?= quick
CORES   ?= 2
# `make run CLUSTER=slurm` sends jobs there: profiles/slurm
CLUSTER ?=
# `make test TESTS="tests/test_runs.py -k resume"` runs some
TESTS   ?=
LAB     ?=

# Pinned beside the lock because it reads and writes it.
UV      := uv==0.13.8
PY      := .venv/bin/python
READY   := .venv/.ready

MINUTES ?= 30

COHORT_SIZE ?= 65000
# of the cluster that `make plan` is asked about: --nodes 10 --cores 32 --memory-gb 128 --shard 100
PLAN    ?=

.PHONY: run sample plan test fuzz lab lint lock readme gallery weights
.DELETE_ON_ERROR:

# `exec`: the run must see when make itself is killed, and end with it.
run: $(READY)
	@exec $(PY) -m cmrlib.app.runs all --profile "$(PROFILE)" --cores "$(CORES)" --cluster "$(CLUSTER)" --follow

sample: $(READY)
	@$(PY) -m cmrlib.app.cli report --sample --out runs/sample.html

plan: $(READY)
	@exec $(PY) benchmarks/plan.py --size "$(COHORT_SIZE)" $(PLAN)

test: $(READY)
	@$(PY) -m pytest --numprocesses "$(CORES)" --dist loadfile --no-loadscope-reorder $(TESTS)

fuzz: $(READY)
	@FUZZ_MINUTES="$(MINUTES)" $(PY) -m pytest -q tests/test_fuzz.py

lab: $(READY)
	@$(PY) -m jupyterlab $(LAB) notebooks

lint: $(READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

# The README's numbers from figures/record/, and its pictures from runs/.
readme gallery: $(READY)
	@$(PY) tools/readme.py $@

# The others start from the synthetic one.
weights: $(READY)
	@for set in synthetic open real; do \
	    for profile in $$($(PY) tools/ship_weights.py --profiles $$set); do \
	        $(PY) -m cmrlib.app.runs all --profile "$$profile" --cores "$(CORES)" --follow || exit 1; \
	    done; \
	    $(PY) tools/ship_weights.py $$set || exit 1; \
	done

# A find-links folder with CPU wheels would fork the lock into +cpu versions: hide it here.
lock: $(READY)
	@env -u UV_FIND_LINKS $(PY) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --extra dev --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	@git --no-pager diff --stat -- requirements.lock

# Made again whenever the lock or the package's metadata changes; the stamp comes last, so an interrupted
# install is taken up again. uv takes a third of pip's time; where it cannot be had or fails, pip does it.
# Unlike pip, uv reads no PIP_FIND_LINKS: a machine that keeps its CPU wheels there says so once.
$(READY): requirements.lock pyproject.toml
	@python=; for p in python3 python3.13 python3.12 python3.11; do \
	    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "cmrlib needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1)" >&2; exit 1; \
	fi; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making .venv with $$($$python --version)"; $$python -m venv --clear .venv || exit 1; \
	fi
	@echo "installing requirements.lock into .venv (once; a few minutes on a slow line)"
	@export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"; \
	if $(PY) -m pip install --quiet $(UV) && \
	   $(PY) -m uv pip install --quiet --python $(PY) --compile-bytecode -r requirements.lock; then :; else \
	    echo "uv did not manage; installing with pip" >&2; \
	    $(PY) -m pip install --quiet -r requirements.lock; \
	fi
	@$(PY) -m pip install --quiet --no-deps --editable .
	@touch $(READY)
