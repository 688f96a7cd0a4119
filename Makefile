# Set-up, demo and tests; `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
READY := $(VENV)/ready
TEST_READY := $(VENV)/test-ready
SLURM := $(VENV)/slurm
# Never with its whole path: blanks in that would make several names of it.
DEMO := demo
CLOUDY_NIGHT := 20260303
GOOD_NIGHT := 20260304
DEMO_NIGHT := 20260305
SYSTEM_PYTHON ?= python3
SEEDS := 5
SOAK_SEEDS := 300
SOAK_FIRST := 1
# Command and the Debian package that has it.
TEST_PACKAGES := fitsverify:fitsverify build-astrometry-index:astrometry.net smbd:samba \
  sshd:openssh-server sshfs:sshfs rsync:rsync chromium:chromium systemd-analyze:systemd \
  mkfs.ext4:e2fsprogs

.PHONY: help setup screenshots demo demo-clean test test-slurm fuzz soak soak-campaign test-full picture lint hooks install uninstall status docs bench \
  packages pins place

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY) ## the virtual environment in .venv

# Snakemake does not quote the path of its Python.
place:
	@case "$(VENV)$$PWD" in [!/]*[[:space:]]*) \
	  echo "$$PWD has blanks in its path, with which Snakemake runs no scripts:" \
	    "move it, or keep Python elsewhere: make VENV=/path/to/venv"; exit 1;; esac

$(BIN)/python:
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make SYSTEM_PYTHON=/path/to/python3"; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install -y python3-venv; } || \
	  { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(SYSTEM_PYTHON) -m venv $(VENV)

# Versions are pinned, that of pip is nobody's business.
$(INSTALLED): requirements.txt constraints.txt | place $(BIN)/python
	@printf '[global]\ndisable-pip-version-check = true\n' > $(VENV)/pip.conf
	$(BIN)/pip install --quiet -r requirements.txt
	@touch $@

# Runs write no compiled modules: see scripts/__init__.py.
$(READY): $(INSTALLED) $(shell find scripts -name '*.py')
	@$(BIN)/python -m compileall -q -f scripts
	@touch $@

$(TEST_READY): requirements-test.txt requirements-solving.txt $(INSTALLED)
	$(BIN)/pip install --quiet -r requirements-test.txt
	@touch $@

# Copies of the configuration are without the settings of the site: no mail is sent, no log copied.
# Three nights of two telescopes: a cloudy one, a good one, one with every fault; at last a job of Io fails.
demo: $(READY) demo-clean ## simulated nights of Callisto and Io, from raw frames to the archive directory and the pages
	@mkdir -p $(DEMO)/archive
	@demo="$$PWD/$(DEMO)"; for telescope in Callisto Io; do \
	  lower=$$(echo $$telescope | tr A-Z a-z); cp config/$$lower.yaml $(DEMO)/; source=$(DEMO)/source/$$telescope; \
	  simulate="$(BIN)/python -m scripts.simulate --telescope $$telescope --output $$source"; \
	  $$simulate --night $(CLOUDY_NIGHT) --frames 24 --cloud 2 && $$simulate --night $(GOOD_NIGHT) --frames 24 && \
	  $$simulate --night $(DEMO_NIGHT) --frames 24 --faults || exit 1; \
	  run="$(BIN)/snakemake --profile profiles/demo --configfile $(DEMO)/$$lower.yaml --config \
	    source=$$demo/source/$$telescope workdir=$$demo/$$telescope archive=$$demo/archive site=$$demo/pages max_held=0.6"; \
	  $$run catalogue=$$demo/source/$$telescope/$(GOOD_NIGHT).stars.csv nights=$(CLOUDY_NIGHT)-$(GOOD_NIGHT) || exit 1; \
	  if [ $$telescope = Callisto ]; then \
	    $$run catalogue=$$demo/source/$$telescope/$(DEMO_NIGHT).stars.csv nights=$(DEMO_NIGHT) || exit 1; \
	  else ! $$run catalogue=$$demo/missing.csv nights=$(DEMO_NIGHT) || exit 1; fi; \
	done
	@for telescope in Callisto Io; do echo; cat $(DEMO)/$$telescope/$(GOOD_NIGHT)/summary.txt; done
	@echo; for night in $(CLOUDY_NIGHT) $(GOOD_NIGHT) $(DEMO_NIGHT); do \
	  products=$$(cat $(DEMO)/*/logs/$$night/transferred | sed 's,^,$(DEMO)/archive/,'); \
	  echo "the gate     $$night: $$($(BIN)/python -m scripts.validate --night $$night $$products)"; done
	@echo "products     $$PWD/$(DEMO)/archive/"
	@echo "all nights   $$PWD/$(DEMO)/pages/index.html"

demo-clean: ## remove what the demo made
	@rm -rf $(DEMO)

packages:
	@missing=$$(PATH=$$PATH:/usr/sbin:/sbin; for p in $(TEST_PACKAGES); do command -v $${p%:*} >/dev/null || echo $${p#*:}; done); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	      apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $$missing >/dev/null; \
	  else echo "LEFT OUT, not installed and you are not root: the tests that need" $$missing; \
	    echo "to run them too: sudo apt-get install --no-install-recommends" $$missing; fi; fi

test: $(READY) $(TEST_READY) packages ## all tests; installs the Debian packages that they use, if it may
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fuzz: $(READY) $(TEST_READY) packages ## random damage to 2,000 frames and 5,000 odd reserved cards with each of SEEDS=5 new seeds, which it prints
	@for n in $$(seq $(SEEDS)); do seed=$$(od -An -N3 -tu4 /dev/urandom | tr -d ' '); \
	  echo "FUZZ_SEED=$$seed"; \
	  FUZZ_SEED=$$seed FUZZ_CARDS=5000 $(BIN)/python -m pytest -q tests/test_fuzz.py tests/test_reserved.py || exit 1; done

soak: $(READY) $(TEST_READY) ## random kills, collections, removals and late frames: SOAK_SEEDS=300 scripts of runs
	$(BIN)/python -m tests.soak --seeds $(SOAK_SEEDS) --first $(SOAK_FIRST)

soak-campaign: $(READY) $(TEST_READY) ## a campaign of 100 nights that is killed at random and begun again
	$(BIN)/python -m tests.soak_campaign

# Beside the other packages: Snakemake imports each plugin, and this one asks SLURM's controller.
$(SLURM): requirements-slurm.txt $(INSTALLED)
	@rm -rf $@
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $@ -r requirements-slurm.txt
	@touch $@

test-slurm: TEST_PACKAGES := slurmctld:slurmctld slurmd:slurmd munged:munge sbatch:slurm-client
test-slurm: $(READY) $(TEST_READY) $(SLURM) packages ## a night under a real SLURM: killed, cancelled, completed
	SLURM_TESTS=1 $(BIN)/python -m pytest -rs --durations=3 tests/test_slurm.py

test-full: $(READY) $(TEST_READY) packages ## the tests of products on nights of real size, 300 and 40 frames
	FULL_SIZE=1 $(BIN)/python -m pytest -n 2 tests/test_products.py

lint: $(READY) $(TEST_READY) ## formatters, linters and type checker, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/hadolint Containerfile
	$(BIN)/snakemake --lint --configfile config/callisto.yaml --config workdir="$$(mktemp -d)"

hooks: $(READY) $(TEST_READY) ## the linters before each commit (pre-commit), in this checkout
	$(BIN)/pre-commit install

docs: $(READY) ## docs/eso.md, the configuration's schema and example, the picture of the modules
	@$(BIN)/python -m scripts.describe
	@$(BIN)/python -m tests.architecture

pins: $(READY) $(TEST_READY) ## envs/*.linux-64.pin.txt, the exact packages of conda; needs conda-forge
	@$(BIN)/python -m envs.pin

bench: $(READY) ## times of nights of several sizes against copying them with cp: table, benchmarks/night.json, growth.svg
	$(BIN)/python -m benchmarks.night --output benchmarks

picture: $(READY) ## docs/dag.svg, drawn by the workflow from a small night (needs Debian's graphviz)
	@command -v dot >/dev/null || { echo "dot is missing: apt-get install graphviz"; exit 1; }
	@rm -rf $(DEMO) && mkdir -p $(DEMO)/archive && cp config/callisto.yaml $(DEMO)/
	@$(BIN)/python -m scripts.simulate --telescope Callisto --night $(DEMO_NIGHT) --frames 12 \
	  --output $(DEMO)/source
	@run="$(BIN)/snakemake --profile profiles/demo --configfile $(DEMO)/callisto.yaml"; \
	  demo="$$PWD/$(DEMO)"; \
	  set -- --config source="$$demo/source" workdir="$$demo/work" archive="$$demo/archive" \
	    catalogue="$$demo/source/$(DEMO_NIGHT).stars.csv" nights=$(DEMO_NIGHT); \
	  $$run --until inventory "$$@" && $$run --rulegraph "$$@" | dot -Tsvg > docs/dag.svg

screenshots: $(READY) $(TEST_READY) packages ## docs/pages/*.png, what README shows of the pages
	$(BIN)/python -m tests.screenshots

uninstall: $(READY) ## removes the profiles that make install wrote
	@$(BIN)/python -m scripts.install uninstall

install: $(READY) ## makes `snakemake --profile callisto` work from anywhere; prints crontab lines
	@$(BIN)/python -m scripts.install install

status: $(READY) ## how the telescopes stand: last success, incomplete nights, mails, free space
	@$(BIN)/python -m scripts.status
