# Each target is what CI runs and what a developer types.

# Real clocks: each of these runs by itself.
LIVE = ./internal/daemon ./internal/lab/live ./internal/lab/demo ./internal/lab/flood ./internal/lab/handover

check: SHORT = -short
check: vet tests ## every day, a few minutes: all but what takes a minute and more by itself

full: vet tests ## everything below but fuzz and lab; CI runs this

tests:
	go test $(SHORT) -timeout 30m $$(go list ./... | grep -v -x -F "$$(go list $(LIVE))")
	go test $(SHORT) -timeout 30m -p 1 $(LIVE)

vet: ## gofmt, vet and staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted (gofmt -w): $$files"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

test: ## the quick part: no root, no namespaces
	go test ./wire/... ./internal/core/... ./internal/proto/... ./internal/config ./cmd/...

netns: ## the scenes in network namespaces (root, or user namespaces)
	go test -count=1 -v ./internal/lab/... ./internal/host/... ./internal/daemon/...

FUZZTIME ?= 1m
fuzz: ## every fuzz target for FUZZTIME
	./scripts/fuzz $(FUZZTIME)

CRASHES ?= 1000
soak: ## the daemon killed a thousand times, with real processes: about ten minutes (root, or user namespaces)
	go test -count=1 -v -timeout 4h ./internal/lab/load -run Kill -crashes $(CRASHES)

lab: ## the demonstration: a node moves, its connection stays
	go run ./cmd/careof lab demo

gen: ## what is generated from the code
	go run ./internal/conformance
	go run ./internal/openapi/gen
	CAREOF_SOCKET= go run ./cmd/careof manual docs

pictures: ## the dashboard's screenshots and the terminals that the guides show, from a run
	go test -count=1 ./internal/ui -update
	go test -count=1 ./cmd/careof -run TestTheRecordings -record

package: ## .deb and .rpm for amd64 and arm64, into dist/
	./scripts/package

site: ## the guides as a static site, into dist/site
	go run -C docs/site . $(CURDIR)/dist/site

.PHONY: check full tests vet test netns fuzz soak lab gen pictures package site
