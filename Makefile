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

# Debian packages that the tests and the firmware need and a fresh machine lacks: PROGRAM=PACKAGE.
APP_TOOLS := clang=clang wasm-ld=lld wat2wasm=wabt rustc=rustc
RUST_WASM := libstd-rust-dev-wasm32

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
build: ## build all programs into bin/
	@echo "Wasmbed builds (the embedded cluster takes some minutes the first time)"
	$(call step,wasmbed-cluster kubectl,cd clusters/embedded && $(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/ ./cmd/...)
	$(call step,wasmbed,$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ ./controllers/cmd/...)

.PHONY: test
test: build tools ## run every test
	$(GO) test ./...
	cd clusters/embedded && $(GO) test ./...

.PHONY: verify
verify: $(GOLANGCI_LINT) ## formatting, linters, generated files up to date
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...
	@before=$$(git status --porcelain); $(MAKE) --no-print-directory generate; after=$$(git status --porcelain); \
	test "$$before" = "$$after" || { echo "generated files are not up to date; run make generate and commit:"; git status --porcelain; exit 1; }

.PHONY: generate
generate: ## write generated files anew
	$(GO) tool controller-gen object paths=./controllers/api/...
	$(GO) tool controller-gen crd paths=./controllers/api/... output:crd:dir=controllers/config/crd
	$(GO) generate ./...

.PHONY: tools
tools: ## install what the tests need and the machine lacks
	@missing=""; for pair in $(APP_TOOLS); do command -v $${pair%%=*} >/dev/null || missing="$$missing $${pair##*=}"; done; \
	if [ -n "$$missing" ]; then echo "installs$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

.PHONY: bench
bench: build ## print the product's figures
	$(GO) run ./controllers/bench

.PHONY: clean
clean: ## remove what was built; the home stays, `wasmbed clean` removes it
	rm -rf $(BIN) firmware/build

$(GOLANGCI_LINT):
	@echo "builds golangci-lint $(GOLANGCI_LINT_VERSION)"
	GOTOOLCHAIN=local GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
