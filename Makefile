# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
CACHE := $(CURDIR)/.cache
GO ?= go
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo development)
GOLANGCI_LINT := $(CACHE)/bin/golangci-lint
GOLANGCI_LINT_VERSION := v2.13.2

# Debian packages that compile apps and fuzz the firmware.
APP_TOOLS := clang-14 lld-14 libclang-rt-14-dev wabt rustc libstd-rust-dev-wasm32

# Debian packages that test the page, and the script that reviews a change in a pipeline.
PAGE_TOOLS := chromium
REVIEW_TOOLS := curl jq

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z][a-zA-Z_-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# step NAME: COMMAND says what it does and how long it took.
define step
	@printf '  %-22s ' '$(1)'; began=$$(date +%s.%N); \
	if ! out=$$( { $(2); } 2>&1 ); then printf 'failed\n%s\n' "$$out" >&2; exit 1; fi; \
	awk -v a=$$began -v b=$$(date +%s.%N) 'BEGIN{printf "%5.1f s\n", b-a}'
endef

.PHONY: up
up: build ## build and start everything; Ctrl-C ends it
	@exec $(BIN)/wasmbed up

.PHONY: build
build: firmware page ## build all programs, the firmware and the page into bin/
	@echo "Wasmbed builds (the embedded cluster takes some minutes the first time)"
	$(call step,wasmbed-cluster kubectl,cd clusters/embedded && $(GO) build -ldflags '-s -w' -o $(BIN)/ ./cmd/...)
	$(call step,wasmbed,$(GO) build -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ ./controllers/cmd/...)
	$(call step,wasmbed-run,$(MAKE) -C firmware/wasm wasmbed-run && cp -u firmware/build/wasm/wasmbed-run $(BIN)/)

.PHONY: firmware
firmware:
	$(call step,tools for the firmware,$(MAKE) -C firmware tools)
	$(call step,firmware,$(MAKE) -C firmware -j$(shell nproc) all)
	@mkdir -p $(BIN)/firmware; for elf in firmware/build/*/firmware.elf; do cp -u "$$elf" "$(BIN)/firmware/$$(basename "$$(dirname "$$elf")").elf"; done

# The dashboard's page, which the dashboard's server embeds.
PAGE := dashboard/page
PAGE_PACKAGES := $(PAGE)/node_modules/.package-lock.json
PAGE_SOURCES = $(shell find $(PAGE)/src $(PAGE)/public $(PAGE)/index.html $(PAGE)/*.ts $(PAGE)/*.json -type f)

.PHONY: page
page: dashboard/dist/index.html

$(PAGE_PACKAGES): $(PAGE)/package.json $(PAGE)/package-lock.json
	$(call step,packages of the page,cd $(PAGE) && npm ci --no-progress)

dashboard/dist/index.html: $(PAGE_PACKAGES) $(PAGE_SOURCES)
	$(call step,page,cd $(PAGE) && npm run build)

.PHONY: test
test: build tools ## run every test, and fuzz meanwhile
	@mkdir -p $(CACHE); set -m; nice -n 5 $(MAKE) --no-print-directory fuzz-go >$(CACHE)/fuzz.log 2>&1 & fuzz=$$!; set +m; \
	trap 'kill -- -$$fuzz 2>/dev/null || :' EXIT; \
	$(MAKE) --no-print-directory tests; \
	wait $$fuzz || { cat $(CACHE)/fuzz.log >&2; exit 1; }; cat $(CACHE)/fuzz.log

# Three packages at once: one of them is chaos, which mostly waits.
.PHONY: tests
tests:
	$(GO) test -p 3 -timeout 20m ./...
	cd clusters/embedded && $(GO) test -timeout 20m ./...
	$(MAKE) -C firmware test
	$(MAKE) -C firmware/wasm test
	cd $(PAGE) && npm test && npm run test:browser

.PHONY: verify
verify: tools $(GOLANGCI_LINT) $(PAGE_PACKAGES) ## formatting, linters, generated files up to date
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...
	$(MAKE) -C firmware/wasm verify
	cd $(PAGE) && npm run lint
	@before=$$(git status --porcelain); $(MAKE) --no-print-directory generate; after=$$(git status --porcelain); \
	test "$$before" = "$$after" || { echo "generated files are not up to date; run make generate and commit:"; git status --porcelain; exit 1; }

.PHONY: generate
generate: ## write generated files anew
	$(GO) tool controller-gen object paths=./controllers/api/...
	$(GO) tool controller-gen crd paths=./controllers/api/... output:crd:dir=controllers/config/crd
	$(GO) generate ./...
	$(GO) run ./controllers/cmd/wasmbed schema --dir clusters/schemas

.PHONY: tools
tools: ## install compilers and the browser where they are missing
	@firmware/tools/install $(APP_TOOLS) $(PAGE_TOOLS) $(REVIEW_TOOLS)

.PHONY: screenshots
screenshots: tools $(PAGE_PACKAGES) ## take the README's pictures of a running dashboard: ADDRESS="what up printed"
	cd $(PAGE) && npm run screenshots -- "$(ADDRESS)"

# Go before 1.27 may take the end of its own -fuzztime for a failure (go.dev/issue/75804): that line alone, without a failing input.
FUZZTIME ?= 1m
.PHONY: fuzz-go
fuzz-go: ## fuzz every parser of the Go side, two at a time, FUZZTIME=1m each
	@for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
	sed -n "s|^func \(Fuzz[A-Za-z]*\)(.*|$$(dirname $$file) \1|p" $$file; done | xargs -P 2 -L 1 bash -c '\
	out=$$($(GO) test "./$$0" -run NONE -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s -parallel 1 2>&1) || \
	grep -qxF "    context deadline exceeded" <<<"$$out" || { echo "$$out"; exit 1; }; \
	echo "$$0 $$1: $$(sed -n "s/^fuzz: elapsed: //p" <<<"$$out" | tail -1)"'

.PHONY: bench
bench: build tools ## print the product's figures: push to running, commit to applied, the page at 10,000 devices
	$(GO) run ./controllers/bench/push
	$(GO) run ./controllers/bench/push -boards -pushes 20
	$(GO) run ./controllers/bench/sync
	$(GO) run ./controllers/bench/plan
	$(GO) run ./controllers/bench/dashboard

.PHONY: bench-page
bench-page: build tools ## print what the dashboard and its page cost at 10,000 devices, with twice ten minutes of the browser's memory
	$(GO) run ./controllers/bench/dashboard -memory 10m

.PHONY: bench-scale
bench-scale: build ## print what 10,000 devices cost, beside what bare requests and handshakes do (DEVICES=)
	$(GO) run ./controllers/bench/scale -devices $(or $(DEVICES),10000)

.PHONY: chaos
chaos: build ## break an installation at random for an hour and watch (SEED=, FOR=)
	@mkdir -p $(CACHE)/chaos; $(GO) build -o $(CACHE)/chaos/ ./controllers/bench/chaos
	@exec $(CACHE)/chaos/chaos -for $(or $(FOR),1h) $(if $(SEED),-seed $(SEED))

.PHONY: bench-wasm
bench-wasm: ## print the runtime's speed and memory, on a virtual board
	$(MAKE) -C firmware/wasm bench

.PHONY: size
size: ## print flash and RAM of firmware and runtime
	$(MAKE) -C firmware size
	$(MAKE) -C firmware/wasm size

.PHONY: clean
clean: ## remove what was built; the home stays, `wasmbed clean` removes it
	rm -rf $(BIN) firmware/build
	find dashboard/dist -mindepth 1 ! -name .keep -delete

$(GOLANGCI_LINT):
	@echo "builds golangci-lint $(GOLANGCI_LINT_VERSION)"
	GOTOOLCHAIN=local GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
