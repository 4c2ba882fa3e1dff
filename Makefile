# make lab         the course in JupyterLab, on copies of the lessons in work/
# make update      after git pull: new lessons and new versions into work/; what you have changed there stays
# make test        style, unit tests, and every notebook run again with its outputs compared
# make notebooks   build the lessons from notebooks/src (ONLY="02 05": these)
# make weights     train the small encoders in data/ again, with their cards
# make portable    the notebooks as two other kinds of processor run them (LESSONS="05 13": these)
# make gpu         every lesson at full size on a GPU, in plain Python (LESSONS=); without a GPU a short form
# make gpu-speed   the throughput table, with the GPU of GPU_PYTHON (default python3; nothing is installed)
# make colab       lessons and extras in a simulated Colab (5 GB, made once)
# make book        the lessons and guides as a web book, book/_build/html/index.html (SOLUTIONS=0: without solutions;
#                  LANGUAGE=zh: in Chinese as far as it is translated, book/_build/zh, see book/translation.py)
# make colab-zip   one file, build/cross-modal-course.zip: beside a lesson on Colab, or on Drive, it is all that is needed
# make slides      a deck of each lesson's figures and derivations to teach from, book/_build/slides/NN.html
# make pdf         the same book as one file to print, book/_build/book.pdf (needs Chromium)
# make bench       every benchmark that needs no GPU
# make grade-demo  a class of thirty, graded
# make proof       all that can be proved here, with the minutes of each stage; before an issue is called resolved
.PHONY: lab update test notebooks weights portable gpu gpu-speed colab colab-zip book slides pdf bench grade-demo proof
.PHONY: install lint unit native rotate
.DEFAULT_GOAL := lab

ENV        := .venv
PY         := $(ENV)/bin/python
READY      := $(ENV)/.installed
COLAB      := .venv-colab
PYTHONS    ?= python3.13 python3.12 python3.11 python3 python
PYTHON313  ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13) 3.13)
LESSON     ?= work/$(notdir $(firstword $(wildcard notebooks/00_*.ipynb)))
LAB_FLAGS  ?= $(if $(filter 0,$(shell id -u)),--allow-root)
WORKERS    ?= 2
GPU_PYTHON ?= python3
BUILT       = $(sort $(wildcard notebooks/[0-9]*.ipynb))

# With two busy threads on a shared machine a lesson is ten times slower than with one.
export OMP_NUM_THREADS ?= 1

lab: $(READY)
	@$(PY) -m cmlib.cli copy
	@# Settings of the course that leave the learner's own as they are: no question about news on top of the page.
	$(PY) -m jupyterlab --LabApp.app_settings_dir="$(CURDIR)/deploy/jupyterlab" --ServerApp.root_dir="$(CURDIR)" $(LAB_FLAGS) $(LESSON)

update: $(READY)
	@$(PY) -m cmlib.cli update

test: lint unit native

lint: $(READY)
	$(PY) -m ruff check .

unit: $(READY)
	$(PY) -m pytest -q tests -n $(WORKERS) --dist=loadfile

native: $(READY)
	$(if $(BUILT),$(PY) -m pytest -q --nbval $(BUILT) -n $(WORKERS) --dist=loadfile)

notebooks: $(READY)
	$(PY) -m cmlib.cli build $(ONLY)
	$(PY) -m book.sliders $(ONLY)
	$(PY) tests/test_readme.py

weights: $(READY)
	$(PY) -m recipes.mini_encoders

portable: $(READY)
	$(PY) tests/portable.py --workers $(WORKERS) $(LESSONS)

# what a commit changed and a third of the rest, under one of the two sets
rotate: $(READY)
	chosen=$$($(PY) tests/rotate.py) && $(PY) tests/portable.py --workers $(WORKERS) $$chosen

# These two depend on nothing: a GPU machine has its own Python with torch and transformers, and perhaps no network.
gpu:
	$(GPU_PYTHON) benchmarks/gpu_lessons.py $(LESSONS)

gpu-speed:
	$(GPU_PYTHON) benchmarks/gpu_speed.py

bench: $(READY)
	@for file in $(filter-out benchmarks/gpu_%,$(wildcard benchmarks/*.py)); do \
	  echo "== $$file"; $(PY) $$file || exit 1; done

grade-demo: $(READY)
	$(PY) tests/grading/classroom.py

colab: $(READY) $(COLAB)/.installed
	CML_COLAB=1 $(PY) -m pytest -q tests/colab

colab-zip: $(READY)
	@$(PY) -m cmlib.cli zip

# CML_SAVED also runs the notebooks of earlier versions, which must go on working.
proof: export CML_SAVED := 1
proof: export GPU_PYTHON := $(PY)
proof: $(READY)
	$(PY) tests/stages.py proof lint unit native book portable gpu gpu-speed colab

install: $(READY)

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
	@echo "Installing the course's packages into $(ENV): about 6 GB and some minutes, the first time."
	$(PY) -m pip install -q --disable-pip-version-check uv
	@# A box of the grader sees a read-only system: what is not compiled here, each of them would compile again, for 5 s.
	$(PY) -m uv pip install --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	$(PY) -m uv pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

$(COLAB)/.installed: tests/colab/requirements.txt | $(READY)
	$(PY) -m uv venv -q --clear --python $(PYTHON313) $(COLAB)
	$(PY) -m uv pip install -q --python $(COLAB)/bin/python -r tests/colab/requirements.txt
	@touch $@

book: $(READY)
	@# Many a desktop sets LANGUAGE; only a name of ours counts.
	$(PY) -m book.build $(addprefix --language=,$(filter zh,$(LANGUAGE))) $(LESSONS)

slides: $(READY)
	$(PY) -m book.slides $(LESSONS)

pdf: $(READY)
	$(PY) -m book.paper $(LESSONS)
