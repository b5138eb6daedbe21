# `make help` lists the targets. All of them need Python 3.11, 3.12 or 3.13 and nothing else;
# the newest found is used, since jax runs convolutions on CPU 2 to 4 times faster on >= 3.12.

PYTHONS := 3.13 3.12 3.11
LOCK := requirements.lock
DEMO := runs/demo
# What the run on Python 3.11 leaves out: long, and no different there.
LONG := tests/ad_core/backbones/test_efficientnet_lite.py \
	tests/ad_core/backbones/test_inception.py \
	tests/ad_core/backbones/test_resnet.py \
	tests/ad_core/backbones/test_vit.py \
	tests/ad_core/statistics/test_first_set.py \
	tests/ad_core/training/test_perceptual_loss.py \
	tests/ad_core/decision/test_contract.py \
	tests/ad_core/decision/classifiers/test_pairwise_losses.py \
	tests/ad_core/decision/classifiers/test_proved_ridge.py \
	tests/ad_core/decision/thresholds/test_misses.py \
	tests/ad_core/decision/thresholds/test_thresholds.py \
	tests/test_remat.py
# Two workers; tests/conftest.py groups the tests and puts the longest groups first.
PYTEST := python -m pytest -q -n 2 --no-loadscope-reorder
# Installs what the locks $(2) list into the environment $(1); bytecode is made on all cores, since
# that takes pip twice as long as the rest. What does not compile is not for this Python.
into = $(1)/bin/python -m pip install -qq --no-compile --require-hashes $(addprefix -r ,$(2)) && \
	{ $(1)/bin/python -W ignore -m compileall -qq -j 0 $(1)/lib || true; }
# A .venv that was not made here is somebody's own: leave it alone.
VENV := $(if $(wildcard .venv),$(if $(wildcard .venv/.made-by-make),.venv,.venv-zfn),.venv)
BIN := $(VENV)/bin
UV ?= uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-config --custom-compile-command "make lock" $(UPGRADE)

# What is installed on request, each with a lock of its own.
EXTRAS := boosting browser cluster cuda export

.DEFAULT_GOAL := help
# What CI runs of the slow tests, and what it leaves out of them: other forms of what it does run.
SLOW_OF_FAMILIES := tests/vqgan_ad tests/baselines_ad tests/diffusion_ad \
	$(addprefix tests/launch/test_,memories.py given_backbone.py)
PLANTED := tests/diffusion_ad/test_diffusion.py::test_a_planted_defect_is_found
OTHER_FORMS := "$(PLANTED)[AnoDDPM]" "$(PLANTED)[dit]" \
	tests/launch/test_given_backbone.py::test_memories_on_a_users_resnet_need_its_file_no_more

.PHONY: help setup setup-3.11 demo test lint test-3.11 test-slow test-families test-browser test-export lock clean
.PHONY: $(EXTRAS) $(EXTRAS:%=lock-%)

help:
	@echo "make demo       set up, train and evaluate on made-up retina scans, say where the report is"
	@echo "make test       set up, then ruff, pyright and the tests on the newest Python found"
	@echo "make test-3.11  what is shared, without the long tests, on Python 3.11 where there is one"
	@echo "make test-slow  the tests that take more than 20 seconds each"
	@echo "make test-families  those of them in which methods train, learn in folds and load"
	@echo "make test-export  exported programs in ONNX Runtime and OpenVINO, which it adds"
	@echo "make test-browser  the console in Chromium, which must be there; adds Playwright"
	@echo "make setup      the virtual environment $(VENV) from $(LOCK), once"
	@echo "make boosting   add XGBoost and LightGBM to it"
	@echo "make cuda       add JAX for NVIDIA GPUs to it"
	@echo "make cluster    add Ray to it"
	@echo "make export     add OpenVINO and ONNX Runtime to it"
	@echo "make browser    add Playwright to it"
	@echo "make lock       write the locks again (UPGRADE=--upgrade for newer versions; needs uv)"
	@echo "make clean      remove the environments and caches made here; runs/ stays"

setup: $(VENV)/.installed

# Recipe of an environment. $(1): the Python versions wanted, in order.
define install
	@python=$$(.ci/find-python $(1)) && mkdir -p $(@D) && touch $(@D)/.made-by-make && \
	echo "Setting up $(@D) with $$python (about a minute)" && \
	{ test -x $(@D)/bin/python || "$$python" -m venv $(@D); } && \
	$(call into,$(@D),$(LOCK)) && \
	$(@D)/bin/python -m pip install -qq --no-deps --no-build-isolation -e . && \
	touch $@
endef

$(VENV)/.installed: $(LOCK) pyproject.toml
	$(call install,$(PYTHONS))

.venv-3.11/.installed: $(LOCK) pyproject.toml
	$(call install,3.11)

demo: setup
	$(BIN)/python launch/train.py --config=configs/retina_oct.py:phantom --workdir=$(DEMO)
	@echo "Report: file://$(CURDIR)/$(DEMO)/report/index.html"

# XGBoost has no CPU build for macOS; its tests are left out where it is missing.
test: setup $(if $(filter Linux,$(shell uname -s)),boosting) lint
	$(BIN)/$(PYTEST) -m "not slow"

lint: setup
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The oldest Python with its jax 0.10: what is shared, without the long ones, and without the checks
# of shapes at every call (a quarter of the time), which `make test` makes.
test-3.11: setup-3.11
	@if test -x .venv-3.11/bin/python; then \
		.venv-3.11/bin/$(PYTEST) -o addopts="--import-mode=importlib --strict-markers" \
			-m "not slow and not newest" tests/test_*.py tests/ad_core \
			$(addprefix --ignore=,$(LONG)); \
	fi

# Nothing where Python 3.11 is missing, or is what `make test` runs on.
setup-3.11: setup
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
		echo "Python 3.11 is the newest here; make test runs all tests on it."; \
	elif ! .ci/find-python 3.11 > /dev/null 2>&1; then \
		echo "No Python 3.11 here; its subset is left out."; \
	else \
		$(MAKE) --no-print-directory .venv-3.11/.installed; \
	fi

test-slow: setup
	$(BIN)/python -m pytest -q -m slow

test-families: setup
	$(BIN)/$(PYTEST) -m slow $(foreach one,$(OTHER_FORMS),--deselect $(one)) $(SLOW_OF_FAMILIES)

test-export: setup export
	$(BIN)/python -m pytest -q -m "not slow" tests/ad_core/exporting tests/launch/test_export.py

test-browser: setup browser
	$(BIN)/python -m pytest -q tests/in_browser

$(EXTRAS): %: $(VENV)/.%

$(EXTRAS:%=$(VENV)/.%): $(VENV)/.%: requirements-%.lock $(VENV)/.installed
	@echo "Adding $* to $(VENV)"
	@$(call into,$(VENV),$(LOCK) requirements-$*.lock)
	@touch $@

lock:
	$(COMPILE) pyproject.toml --extra test --output-file $(LOCK)
	@$(MAKE) --no-print-directory $(EXTRAS:%=lock-%)

# What an extra needs beyond the main lock, at the versions that the main lock leaves it.
$(EXTRAS:%=lock-%): lock-%:
	$(COMPILE) pyproject.toml --extra $* --constraints $(LOCK) --output-file requirements-$*.lock \
		$$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' $(LOCK) | sort -u)

clean:
	@for venv in .venv .venv-zfn .venv-3.11; do \
		if test -e $$venv/.made-by-make; then rm -rf $$venv; fi; \
	done
	rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
