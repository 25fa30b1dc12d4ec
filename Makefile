.DEFAULT_GOAL := help
SHELL := bash
PYTHON := .venv/bin/python
# The tests wait more than they work; an idle worker takes from the one that has most left.
PYTEST = $(PYTHON) -m pytest --dist worksteal --numprocesses
BESIDE = --jobs --output-sync --no-print-directory
# The base images that setup found or made.
IMAGES := set -a; . .build/images.env;
RUN = $(IMAGES) $(PYTHON)
export BREAK
# Each worker, and each program that a test starts, would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: setup
setup: ## Have engine, base images, virtual environment, network and the sidecar's image
	@scripts/setup

.PHONY: demo
demo: setup ## Back up and restore a whole app with real data (BREAK=row, mode or comeback must end red)
	@$(RUN) scripts/demo.py

.PHONY: demo-down
demo-down: ## Remove everything that the demo made
	@$(RUN) scripts/demo.py --down

.PHONY: test
test: setup ## Everything that CI runs
	@$(MAKE) $(BESIDE) lint types unit
	@$(MAKE) --no-print-directory e2e

.PHONY: check
check: ## Style, types and the unit tests that are quick, side by side, in a minute
	@$(MAKE) $(BESIDE) lint types unit QUICK=1

.PHONY: matrix
matrix: ## Unit tests on the oldest and the newest Python that is supported
	@scripts/matrix $(or $(VERSIONS),3.11 3.13)

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
	@$(PYTEST) 3 $(addprefix --ignore=tests/,corpus e2e fuzz) -m 'not (e2e or slow or fuzz$(if $(QUICK), or thorough))' $(ARGS)

.PHONY: e2e
e2e: ## Tests on the real engine, and a little of fuzz
	@$(IMAGES) $(PYTEST) 4 $(addprefix --ignore=tests/,contract simulation unit) -m '(e2e or fuzz) and not slow' $(ARGS)

.PHONY: corpus
corpus: setup ## Every kind of object of each engine, by each way back
	@$(IMAGES) $(PYTEST) 2 --dist loadfile -m 'e2e or slow' tests/corpus $(ARGS)

.PHONY: faults
faults: setup ## Break engine, network and disk on purpose, and write docs/faults.md
	@$(PYTEST) 2 -m hypothesis --hypothesis-profile long
	@$(IMAGES) $(PYTEST) 2 -m 'faults or slow' --fault-table docs/faults.md $(ARGS)

.PHONY: fuzz
fuzz: ## Try what parses with inputs that nobody would write (SECONDS=60 for each)
	@$(PYTEST) 2 --timeout=0 --fuzz-seed=new --fuzz-seconds=$(or $(SECONDS),60) tests/fuzz $(ARGS)

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
