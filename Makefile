# One runner over plain commands. `make help` lists what there is.
#
# YES=1 answers the questions of `make setup` and `make run`. Everything builds with --locked; the profile `ci` serves
# tests, demo and run alike, so that nothing is built twice.

CARGO ?= cargo
PROFILE := ci
BIN := target/$(PROFILE)
SETUP := packaging/setup/setup.sh
# Always the whole workspace, so that every target resolves the same features and nothing is built twice.
BINARIES := --workspace --bins

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build release run demo red noise verdicts test screenshots check lint bench bench-sigma fuzz deb rpm bundle test-packages setup-package setup-bench setup-noise clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

setup: ## install what `make run` needs (lists it and asks first)
	@$(SETUP) run

setup-bench: ## install what `make bench-sigma` needs as well (valgrind)
	@$(SETUP) bench

setup-noise: ## install what `make noise` needs
	@$(SETUP) noise

setup-test: ## install what `make test` needs as well (Java and Apache Kafka)
	@$(SETUP) test

build: setup ## the binaries, in the profile of tests and demo
	$(CARGO) build --locked --profile $(PROFILE) $(BINARIES)

release: setup ## the binaries, optimised, in target/release
	$(CARGO) build --locked --release $(BINARIES)

run: build ## the whole line on this machine with a story, until Ctrl-C
	@$(BIN)/xtask run

demo: build ## the same without a person: exit 0 once every expected alert and the gap were read back
	@$(BIN)/xtask demo

red: build ## a collector in the attacker's hands sends 10,000 bad orders to a real agent; none may be accepted
	@$(BIN)/xtask red

NOISE := $(or $(BEFFROI_CACHE),$(HOME)/.cache/beffroi)/noise
noise: setup-noise build ## record ordinary machines and harmless attacks once (root, an hour): how often does each rule fire?
	@tests/noise/record.sh --agent $(BIN)/beffroi-agent --xtask $(BIN)/xtask --out $(NOISE)
	@tests/noise/record.sh --agent $(BIN)/beffroi-agent --xtask $(BIN)/xtask --out $(NOISE)/attacks --root $(NOISE)/root attacks
	@$(BIN)/xtask noise judge --recordings $(NOISE)/attacks --expect tests/noise/attacks.txt
	@$(BIN)/xtask noise judge --recordings $(NOISE) --work tests/noise/work.txt --all

verdicts: build ## `beffroi detect` on recorded events against other engines' verdicts (skips where ../shared is not)
	@$(BIN)/xtask verdicts

test: setup-test ## unit, integration and end-to-end tests
	$(CARGO) build --locked --profile $(PROFILE) --workspace --all-targets
	BEFFROI_REQUIRE_ENGINE=1 BEFFROI_REQUIRE_BROWSER=1 tests/tally.sh $(CARGO) test --locked --profile $(PROFILE) --workspace --no-fail-fast
	@$(BIN)/beffroi rules test rules/

screenshots: build ## pictures of the console, into dashboards/console/screenshots
	@$(BIN)/screenshots dashboards/console/screenshots

check: ## what takes seconds: formatting, licences, bans and sources of the dependencies
	$(CARGO) fmt --check
	"$$(packaging/setup/deny.sh)" --locked check bans licenses sources

lint: check setup ## the same, then clippy and the documentation, without a warning
	$(CARGO) clippy --locked --profile $(PROFILE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --profile $(PROFILE) --workspace --no-deps

bench: setup-test ## figures of the whole line (release build, several minutes)
	$(CARGO) build --locked --release $(BINARIES)
	@target/release/xtask bench

bench-sigma: setup-bench ## the evaluator beside rsigma-eval with all of SigmaHQ, and rules loaded anew under load (needs ../shared/corpora and valgrind; half an hour)
	$(CARGO) bench --locked -p beffroi-engine --bench sigma
	$(CARGO) bench --locked -p beffroi-detect --bench reload

FUZZ_SECONDS ?= 60

fuzz: setup ## damaged rules, conditions and events, FUZZ_SECONDS (60) each: no panic, none over a second
	BEFFROI_FUZZ_SECONDS=$(FUZZ_SECONDS) BEFFROI_FUZZ_SEED=$${BEFFROI_FUZZ_SEED:-$$(date +%s)} \
		$(CARGO) test --locked --profile $(PROFILE) -p beffroi-engine --test fuzz -- --nocapture --test-threads 1

# Packages are made of the binaries in PACKAGE_BIN. Unless it is named, they are built first, optimised.
PACKAGE_BIN ?=
PACKAGES := target/packages
ifeq ($(PACKAGE_BIN),)
package-binaries: release
PACKAGED := target/release
else
package-binaries:
PACKAGED := $(PACKAGE_BIN)
endif
.PHONY: package-binaries

setup-package: ## install what packaging and its tests need
	@$(SETUP) package

deb: setup-package package-binaries ## Debian packages (agent, collector, terminal, engine) in target/packages/deb
	packaging/deb/build.sh --bin $(PACKAGED) --out $(PACKAGES)/deb

rpm: setup-package package-binaries ## RPM packages in target/packages/rpm
	packaging/rpm/build.sh --bin $(PACKAGED) --out $(PACKAGES)/rpm

bundle: deb rpm ## everything for an installation without a network, in one file
	packaging/bundle/build.sh --packages $(PACKAGES)

test-packages: bundle ## install, use and purge the packages on a throwaway machine (root)
	tests/packages/run.sh --packages $(PACKAGES)

clean: ## remove what was built
	$(CARGO) clean
