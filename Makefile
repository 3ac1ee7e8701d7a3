# Tacit: every target builds what it needs into .venv and target/; `make` lists them.
# Needs: Python 3.11 or newer with venv, and Rust 1.90 or newer (https://rustup.rs). Nothing else.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

export PATH := $(PATH):$(HOME)/.cargo/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
export CARGO_PROFILE_DEV_DEBUG := line-tables-only
unexport PYTHONPATH PYTHONHOME

BIN := .venv/bin
STAMPS := .venv/stamps
PYTEST := $(BIN)/python -m pytest
CRATES := $(wildcard Cargo.toml Cargo.lock) $(shell find crates -name '*.rs' -o -name '*.toml' -o -name '*.bin')

.PHONY: help demo test check lint rules cargo-test pytest bench peers docs vectors format build clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(STAMPS)/native  ## build, then run the hospital story: two processes, encrypted predictions
	@$(BIN)/tacit demo hospital

test: lint cargo-test pytest  ## everything that CI runs: check, Rust tests, Python tests

check: lint rules  ## the gate before a commit: format, lint, types, import table, exports, doc code

build: $(STAMPS)/native  ## build the Rust core and install the package into .venv

bench: $(STAMPS)/peers  ## run the benchmarks against the peers (quick form)
	@for bench in benches/ckks_ops.py benches/ckks_predict.py benches/mpc.py; do $(BIN)/python "$$bench" --quick --json; done

peers: $(STAMPS)/venv  ## install the benchmarks' peers, each into an environment of its own (some GB)
	@for peer in tenseal:tenseal orion:orion-fhe==1.0.2 concrete-ml:concrete-ml==1.9.0 \
	    'spu:spu==0.9.5 numpy<2 jax<=0.4.34'; do \
	  into=.venv-peers/$${peer%%:*}; read -ra specs <<< "$${peer#*:}"; \
	  $(BIN)/python -m venv "$$into" && "$$into/bin/python" -m pip install "$${specs[@]}" \
	    || echo "note: $${peer%%:*} could not be installed; the benchmarks report it as absent" >&2; \
	done

docs: $(STAMPS)/dev  ## check the pages: links resolve, code runs
	@$(PYTEST) -q tests/docs

vectors: $(STAMPS)/dev  ## regenerate the known-answer vectors from the slow model
	@$(BIN)/python vectors/regenerate.py

format: $(STAMPS)/dev  ## rewrite Python and Rust in the house format
	@$(BIN)/ruff format src tests benches
	@$(BIN)/ruff check --fix src tests benches
	@cargo fmt --all

clean:  ## remove what the targets made
	@rm -rf .venv target .pytest_cache .mypy_cache .ruff_cache .hypothesis src/tacit/_native*.so

lint: $(STAMPS)/dev
	@for tool in rustfmt clippy; do \
	  cargo $${tool/rustfmt/fmt} --version >/dev/null 2>&1 \
	    || { echo "error: cargo's $$tool is missing" >&2; echo "hint: rustup component add $$tool" >&2; exit 2; }; \
	done
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

rules: $(STAMPS)/dev
	$(PYTEST) -q tests/rules tests/docs

# In the optimised development profile: overflow checks are on, and no test binary waits for link-time optimisation.
# The native crate has no Rust tests of its own: as an extension module it cannot be linked without Python.
cargo-test: $(STAMPS)/toolchain
	cargo test --locked --workspace --exclude tacit-native

pytest: $(STAMPS)/dev
	$(PYTEST)

$(STAMPS)/venv:
	@for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "error: no Python 3.11 or newer on the path" >&2; \
	  echo "hint: on Debian: apt install python3 python3-venv" >&2; exit 2; \
	fi; \
	"$$found" -m venv .venv \
	  || { echo "hint: on Debian: apt install python3-venv, then rm -rf .venv" >&2; exit 2; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/toolchain: $(STAMPS)/venv
	@cargo --version >/dev/null 2>&1 \
	  || { echo "error: cargo is missing" >&2; echo "hint: install Rust 1.90 or newer from https://rustup.rs" >&2; exit 2; }
	@touch $@

$(STAMPS)/native: $(STAMPS)/toolchain pyproject.toml $(CRATES)
	@echo 'building the Rust core and installing into .venv (the first time takes some minutes)' >&2
	@$(BIN)/python -m pip install 'maturin>=1.9,<2'
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --release --locked > .venv/build.log 2>&1 \
	  || { cat .venv/build.log >&2; exit 1; }
	@touch $@

$(STAMPS)/dev: $(STAMPS)/native
	@$(BIN)/python .ci/extras.py dev parquet | xargs -d '\n' $(BIN)/python -m pip install
	@touch $@

# A peer that does not install is reported by the benchmarks as absent.
$(STAMPS)/peers: $(STAMPS)/dev
	@$(BIN)/python .ci/extras.py peers | xargs -d '\n' $(BIN)/python -m pip install \
	  || echo "note: the peers could not be installed; the benchmarks report them as absent" >&2
	@touch $@
