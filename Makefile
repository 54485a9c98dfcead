# make demo    sets everything up and runs the main job on a server of its own
# make test    sets everything up and passes the tests
# make check   lint, types, import contracts
# make setup   .venv alone; does nothing when nothing changed

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# valkey: the embedded one. redis: the redis-server on the path.
SERVER ?= valkey
ARGS ?=

.PHONY: setup demo test test-jaeger check lock docs clean chaos fuzz bench

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/regions demo

test: setup
	@REGIONS_TEST_SERVER=$(SERVER) $(BIN)/python -m pytest -n 3 $(ARGS)

# Against a real Jaeger: JAEGER_BIN, the one on the path, or built once with Go into a cache.
test-jaeger: setup
	@JAEGER_BIN="$$(bash otel/get-jaeger.sh)" $(BIN)/python -m pytest tests/jaeger $(ARGS)

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@rm -f .lint-imports.log

# Pins every version; run it after changing the dependencies.
lock: setup
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
	    --no-header --no-annotate --output-file requirements.lock pyproject.toml

# The pages that are generated; a test compares them.
docs: setup
	@$(BIN)/regions docs asyncapi -o docs/asyncapi.json
	@$(BIN)/regions docs schema -o docs/snapshot.schema.json
	@$(BIN)/regions docs cli -o docs/cli.md

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build *.egg-info

# Long runs: make chaos ARGS="--events 500000 --seed 1", make fuzz ARGS="--entries 200000"
chaos: setup
	@$(BIN)/python -m bench.chaos $(ARGS)

fuzz: setup
	@$(BIN)/python -m bench.fuzz $(ARGS)

# Measures everything and writes docs/performance.md; needs 12 GB for its largest backlog.
bench: setup
	@$(BIN)/python -m bench.run $(ARGS)
