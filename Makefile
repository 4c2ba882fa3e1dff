# make lab    the course in JupyterLab        make test   the proof that all of it is true
# make notebooks | weights | bench | colab    for authors        make grade-demo   a class of thirty, graded
.PHONY: lab test notebooks weights bench colab grade-demo
.DEFAULT_GOAL := lab

ENV       := .venv
PY        := $(ENV)/bin/python
READY     := $(ENV)/.installed
COLAB     := .venv-colab
PYTHONS   ?= python3.13 python3.12 python3.11 python3 python
PYTHON313 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13) 3.13)
LESSON    ?= $(firstword $(wildcard notebooks/00_*.ipynb) notebooks)
LAB_FLAGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)
WORKERS   ?= 2
BUILT      = $(sort $(wildcard notebooks/[0-9]*.ipynb))

# With two busy threads on a shared machine a lesson is ten times slower than with one.
export OMP_NUM_THREADS ?= 1

lab: $(READY)
	$(PY) -m jupyterlab $(LAB_FLAGS) $(LESSON)

test: $(READY)
	$(PY) -m ruff check .
	$(PY) -m pytest -q tests -n $(WORKERS) --dist=loadfile
	$(if $(BUILT),$(PY) -m pytest -q --nbval $(BUILT) -n $(WORKERS) --dist=loadfile)

notebooks: $(READY)
	$(PY) -m cmlib.cli build $(ONLY)
	$(PY) tests/test_readme.py

weights: $(READY)
	$(PY) -m recipes.mini_encoders

bench: $(READY)
	@for file in benchmarks/*.py; do echo "== $$file"; $(PY) $$file || exit 1; done

grade-demo: $(READY)
	$(PY) tests/grading/classroom.py

colab: $(READY) $(COLAB)/.installed
	CML_COLAB=1 $(PY) -m pytest -q tests/colab

$(READY): requirements.lock pyproject.toml
	@test -x $(PY) && $(PY) -m pip --version > /dev/null 2>&1 || { \
	  for p in $(PYTHONS); do \
	    if $$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; then found=$$p; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "The course needs Python 3.11, 3.12 or 3.13 with venv, and none of $(PYTHONS) is one: install it, or name it with make PYTHONS=/path/to/python3."; \
	    exit 1; \
	  fi; \
	  echo "Creating $(ENV) with $$found"; $$found -m venv $(ENV); }
	$(PY) -m pip install -q --disable-pip-version-check uv
	@# A box of the grader sees a read-only system: what is not compiled here, each of them would compile again, for 5 s.
	$(PY) -m uv pip install -q --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	$(PY) -m uv pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

$(COLAB)/.installed: tests/colab/requirements.txt | $(READY)
	$(PY) -m uv venv -q --clear --python $(PYTHON313) $(COLAB)
	$(PY) -m uv pip install -q --python $(COLAB)/bin/python -r tests/colab/requirements.txt
	@touch $@
