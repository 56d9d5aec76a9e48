# make demo         answer 8 real ARC tasks with and without test-time training, on a CPU (runs/demo)
# make test         the tests that need no torch, without the slow ones
# make test-slow    the slow tests; `make test-all` runs both
# make test-parity  live comparisons with transformers and PEFT (installs torch)
# make lint         ruff and pyright
# make clean        remove what these made, except runs/
#
# The first run of each sets itself up in .venv; later runs do so again only when a requirement file changed.
#   make demo PYTHON=python3.12          another interpreter (3.11 or 3.12) for the environment
#   make demo ARGS="--tasks.limit 2"     more options for scripts/ttt.py
#   make test TESTS=tests/test_adapt.py   some of the tests; JOBS=1 one at a time

SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=
TESTS ?= tests
JOBS ?= 2
DEMO_DIR := runs/demo
BIN := .venv/bin

.PHONY: demo test test-slow test-all test-parity lint lock clean
.DELETE_ON_ERROR:

# An interrupted demo goes on where it stopped; a finished one starts afresh.
demo: .venv/.runtime
	@if [ -f $(DEMO_DIR)/metrics.json ]; then rm -rf $(DEMO_DIR); fi
	$(BIN)/python scripts/ttt.py --config configs/arc/quickstart.yaml --run-dir $(DEMO_DIR) $(ARGS)

test: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not parity" $(TESTS)

test-slow: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow and not parity" $(TESTS)

test-all: .venv/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not parity" $(TESTS)

test-parity: .venv-parity/.done
	.venv-parity/bin/python -m pytest -m parity tests/parity

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Resolves requirements/*.in for every supported Python. Needs uv (https://docs.astral.sh/uv).
lock:
	for name in runtime dev; do \
	  uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url --upgrade \
	    --custom-compile-command "make lock" requirements/$$name.in -o requirements/$$name.txt || exit 1; \
	done

clean:
	rm -rf .venv .venv-parity build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { \
	  echo "ttt_jax needs Python 3.11 or 3.12, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another interpreter: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: requirements/runtime.txt requirements/no-deps.txt setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/no-deps.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements/dev.txt
	@touch $@

# Torch stays out of .venv, so that `make test` proves that nothing needs it; this one looks into .venv for the rest.
# Where the default index has only a CUDA build: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test-parity
.venv-parity/.done: .venv/.dev requirements/parity.txt
	$(BIN)/python -m venv .venv-parity
	.venv-parity/bin/python -c 'import pathlib, sysconfig; purelib = sysconfig.get_path("purelib"); \
	  shared = pathlib.Path(purelib.replace(".venv-parity", ".venv", 1)); \
	  (pathlib.Path(purelib) / "shared.pth").write_text(f"import site; site.addsitedir({str(shared)!r})\n")'
	.venv-parity/bin/python -m pip install --quiet --requirement requirements/parity.txt
	@touch $@
