# Every target sets up what it needs by itself. `make help` explains them.

.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test test-soak test-labs check fmt bench lab lab-openstack lab-openstack-down docs clean

BIN := .venv/bin
PYTEST := $(BIN)/pytest
# Two tests run at a time. A file stays in one process, so what its tests share is made once.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
# Only root may make networks that are enforced. Other accounts are told what was left out.
ALLOWED := $(if $(filter 0,$(shell id -u)),,and not root)

help: ## Show this list.
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	    || sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1  \2/p' Makefile

demo: ## Install what is missing, then migrate a running VM between two clouds on this machine.
	@scripts/set-up demo
	@$(BIN)/crossport demo

demo-clean: ## Remove everything that the demo made.
	@scripts/set-up demo
	@$(BIN)/crossport demo --clean

test: ## Install what is missing, then run every test but the long ones (20 to 40 minutes).
	@scripts/set-up test
	@$(if $(ALLOWED),echo "Not root: the tests of enforced networks are left out (sudo make test runs them).")
	$(PYTEST) $(PARALLEL) --durations 20 -m "not (soak or openstack) $(ALLOWED)"

test-soak: ## Run the long tests too: every kill point, with real guests (hours).
	@scripts/set-up test
	$(PYTEST) --timeout 3600 -m "soak $(ALLOWED)"

check: ## Check form, types, layers, style and the fast tests (about seven minutes).
	@scripts/set-up test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(PYTEST) $(PARALLEL) -m "not (qemu or root or postgresql or openstack or soak)" $(addprefix --ignore tests/,interop lab stories)

fmt: ## Put the code into the agreed form.
	@scripts/set-up test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: ## Measure a migration in phases, its outage, copying beside other tools, and what Crossport and its security cost.
	@scripts/set-up test
	$(BIN)/python bench/phases.py
	$(BIN)/python bench/warm.py
	$(BIN)/python bench/transfer.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/security.py

lab: ## Run only the tests that boot guests and make networks on this machine.
	@scripts/set-up test
	$(PYTEST) -m "not soak $(ALLOWED)" tests/lab

lab-openstack: ## Install what is missing, then bring up two real OpenStack clouds on this machine (as root).
	@scripts/set-up labs
	@$(BIN)/python -m lab.openstack up

lab-openstack-down: ## End the two clouds; what makes the next ones quick stays. Their data goes with them.
	@scripts/set-up labs
	@$(BIN)/python -m lab.openstack down --purge

test-labs: ## Bring the labs up, run the tests that need them, and end them.
	@scripts/set-up labs
	@{ $(BIN)/python -m lab.openstack up && $(BIN)/python -m lab.openstack inside \
	    $(PYTEST) --durations 10 -m "openstack and not soak" tests/openstack; }; \
	    status=$$?; $(BIN)/python -m lab.openstack down --purge; exit $$status

docs: ## Write the generated pages and pictures anew.
	@scripts/set-up test
	$(BIN)/python scripts/generated.py --write

clean: ## Remove .venv, caches and built files; what the demo made stays (see demo-clean).
	rm -rf .venv dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
