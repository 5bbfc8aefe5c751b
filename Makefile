# make run     everything on this machine, in the foreground; ARGS="--port 8123 --model bundled"
# make test    all checks and all tests
# Both make the environment in .venv first, with every dependency as pinned in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -qq
PIP_VERSION := 26.3
PYTEST := $(BIN)/pytest

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: run redis lm-eval test install dev format lint types floors audit unit integration e2e browser screenshots docs secrets images-check chaos bench peers peers-full clean

run: redis $(VENV)/run.stamp
	@exec $(BIN)/distilq up $(ARGS)

# Those with whole services run one at a time: two models on the same cores stand in each other's way.
test: lint types floors lm-eval
	@$(PYTEST) -n 2 --dist worksteal tests/unit tests/integration
	@$(PYTEST) tests/e2e tests/browser tests/chaos

redis: # before minutes of installing: is there one, or will there be?
	@command -v redis-server >/dev/null || [ -n "$$DISTILQ_REDIS_URL" ] || \
		case "$(ARGS)" in *--redis-url*|*--help*) true ;; *) $(PYTHON) -c 'import sys; sys.version_info < (3, 13) or sys.exit("with Python 3.13 or newer distilq needs a redis-server 6.2 or newer on PATH, or --redis-url")' ;; esac

install: $(VENV)/run.stamp ; @:
dev: $(VENV)/dev.stamp ; @:

$(VENV)/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("distilq needs Python 3.10 or newer; yours is " + sys.version.split()[0] + ": make PYTHON=...")'
	@echo "making the environment in $(VENV); the first time takes minutes, torch is large"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install pip==$(PIP_VERSION)
	@touch $@

$(VENV)/run.stamp: $(VENV)/pip.stamp pyproject.toml constraints.txt
	@$(PIP) install -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@$(PIP) install -c constraints.txt --group dev --group docs
	@touch $@

format: dev
	@$(BIN)/ruff check --fix-only -q
	@$(BIN)/ruff format

lint: dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/bandit -q -c pyproject.toml -r distilq api worker

types: dev
	@$(BIN)/mypy

floors: dev
	@$(BIN)/lint-imports

# Known holes in what is installed; it needs the network, and never fails.
audit: dev
	@$(BIN)/pip-audit --local || true

unit integration: dev
	@$(PYTEST) -n 2 --dist worksteal tests/$@

e2e browser: dev
	@$(PYTEST) tests/$@

e2e: lm-eval

# What README and docs show of the pages, as they look now.
screenshots: dev
	@SCREENSHOTS=1 $(PYTEST) tests/browser -k screenshots

# The documentation as a site, in site/; what is broken in it is an error.
docs: dev
	@$(BIN)/python -m docs.building site

# Passwords and Redis' users for docker-compose.yml, in deploy/secrets: what is there stays.
secrets:
	@$(PYTHON) -m deploy.secrets $(ARGS)

# Builds both images without Docker and runs them; root, buildah and debootstrap are needed.
images-check: dev
	@$(BIN)/python -m tests.images $(if $(WHEELS),--wheels "$(WHEELS)") $(ARGS)

# A client that tests/e2e runs, in an environment of its own.
lm-eval: .venv-lm-eval/made.stamp ; @:

.venv-lm-eval/made.stamp: tests/e2e/lm-eval-requirements.txt constraints.txt
	@$(PYTHON) -m venv .venv-lm-eval
	@.venv-lm-eval/bin/pip --disable-pip-version-check -qq install -c constraints.txt -r $<
	@touch $@

# A long run of tests/chaos; ARGS="--minutes 12 --seed 7", --help says more.
chaos: dev
	@$(BIN)/python -m tests.chaos $(ARGS)

# The short set, under 10 minutes; ARGS="--full" or ARGS="--only engine step_profile".
bench: dev peers
	@$(PIP) install -c constraints.txt --group bench
	@$(BIN)/python -m benchmarks $(ARGS)

# What distilq is measured against, in environments of its own. What cannot be installed is said, and
# the benchmarks say again that it is absent.
peers: .venv-peers/made.stamp ; @:
peers-full: .venv-peers-full/made.stamp ; @:

.venv-peers/made.stamp: benchmarks/peers/requirements.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip --disable-pip-version-check -qq install -r $< && touch $@ || \
		echo "the peers of $< cannot be installed: the benchmarks run without them"

# torchvision comes with optimum-intel from another index than a CPU's torch may, and then does not
# load; none of this needs it.
.venv-peers-full/made.stamp: benchmarks/peers/requirements-full.txt
	@$(PYTHON) -m venv .venv-peers-full
	@.venv-peers-full/bin/pip --disable-pip-version-check -qq install -r $< && \
		.venv-peers-full/bin/pip -qq uninstall -y torchvision && touch $@ || \
		echo "the peers of $< cannot be installed: the benchmarks run without them"

clean:
	@rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
