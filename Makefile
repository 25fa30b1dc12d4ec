.DEFAULT_GOAL := help
SHELL := bash
PYTHON := .venv/bin/python
# With the base images that setup found or made.
RUN := set -a; . .build/images.env; $(PYTHON)
export BREAK

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: setup
setup: ## Have engine, base images, virtual environment, network and the sidecar's image
	@scripts/setup

.PHONY: demo
demo: setup ## Back up and restore a whole app with real data (BREAK=row or BREAK=mode must end red)
	@$(RUN) scripts/demo.py

.PHONY: demo-down
demo-down: ## Remove everything that the demo made
	@$(RUN) scripts/demo.py --down

.PHONY: test
test: setup lint types unit e2e ## Everything that CI runs

.PHONY: lint
lint: ## Style, formatting and the directions between the parts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

.PHONY: types
types: ## mypy, strict
	.venv/bin/mypy

.PHONY: unit
unit: ## Tests without an engine
	$(PYTHON) -m pytest -m 'not e2e and not slow' $(ARGS)

.PHONY: e2e
e2e: ## Tests on the real engine
	@$(RUN) -m pytest -m 'e2e and not slow' $(ARGS)

.PHONY: faults
faults: setup ## Break engine, network and disk on purpose, and write docs/faults.md
	@$(RUN) -m pytest -m 'faults or slow' --fault-table docs/faults.md $(ARGS)

.PHONY: bench
bench: setup ## Measure against docker exec and zstd (QUICK=1 only tries the benchmarks, in seconds)
	@$(RUN) -m benchmarks $(if $(QUICK),--quick)

.PHONY: image
image: ## Build backup-sidecar:local
	@scripts/image

.PHONY: clean
clean: ## Remove what setup and tests made, but for engine and base images
	-docker ps -aq --filter label=backup-sidecar.test | xargs -r docker rm -fv
	-docker network ls -q --filter label=backup-sidecar.test | xargs -r docker network rm
	-docker volume ls -q --filter label=backup-sidecar.test | xargs -r docker volume rm
	-docker network ls -q --filter label=backup-sidecar.setup | xargs -r docker network rm
	rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
