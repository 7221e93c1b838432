# podinit: build, test, deploy. "make help" lists what there is.
#
# A newcomer needs two commands: "make demo" and "make test". Both build and install what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --match 'v*' --abbrev=12 --dirty 2>/dev/null || echo v0.0.0-$$(git describe --always --abbrev=12 --dirty 2>/dev/null || echo unknown))
ARCH    ?= $(shell go env GOARCH)
ARCHITECTURES ?= amd64 arm64 arm ppc64le s390x riscv64
KUBECTL ?= kubectl

# Where images live: make images tags them $(IMAGE_REPOSITORY)/{init,webhook,node}:$(IMAGE_TAG).
IMAGE_REPOSITORY ?= ghcr.io/podinit
IMAGE_TAG        ?= $(VERSION)
INIT_IMAGE       ?= $(IMAGE_REPOSITORY)/init:$(IMAGE_TAG)
WEBHOOK_IMAGE    ?= $(IMAGE_REPOSITORY)/webhook:$(IMAGE_TAG)
NODE_IMAGE       ?= $(IMAGE_REPOSITORY)/node:$(IMAGE_TAG)

BIN         := bin
CLUSTER_BIN := $(BIN)/cluster
TEST_CLUSTER := $(CLUSTER_BIN)/podinit-cluster
VERSION_X   := -X github.com/podinit/podinit/internal/version.Version=$(VERSION)

# Every program is static, for the oldest processor of its architecture, and reproducible.
export CGO_ENABLED := 0
export GOAMD64 := v1
export GOARM64 := v8.0
export GOARM := 7
export GOPPC64 := power8
export GORISCV64 := rva20u64
GO_BUILD := go build -trimpath -buildvcs=false

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Build

.PHONY: build
build: build-images cli ## build the init, the webhook, the node's plugin and the CLI into bin/linux/$(ARCH), and the host's own CLI into bin
	GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -ldflags "-s -w $(VERSION_X)" -o $(BIN)/linux/$(ARCH)/podinit ./cmd/podinit

.PHONY: cli
cli: ## build the command line alone, bin/podinit
	$(GO_BUILD) -ldflags "-s -w $(VERSION_X)" -o $(BIN)/podinit ./cmd/podinit

.PHONY: build-init
build-init:
	GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -buildmode=exe -ldflags "-s -w -E main.entry $(VERSION_X)" -o $(BIN)/linux/$(ARCH)/init ./initbin

.PHONY: build-images
build-images: build-init
	GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -ldflags "-s -w $(VERSION_X)" -o $(BIN)/linux/$(ARCH)/podinit-webhook ./cmd/podinit-webhook
	GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -ldflags "-s -w $(VERSION_X)" -o $(BIN)/linux/$(ARCH)/podinit-node ./cmd/podinit-node

# Images are put together without an engine (release/image), so they are the same on every machine.
# INSECURE=yes is for a registry that is reached by plain HTTP.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
INSECURE ?=
RELEASE := go run ./release
RELEASE_IMAGES = -version $(VERSION) -architectures "$(ARCHITECTURES)" -repository $(IMAGE_REPOSITORY) -tag $(IMAGE_TAG) $(if $(INSECURE),-plain-http)

.PHONY: images
images: override ARCHITECTURES = $(ARCH)
images: build ## archives of the container images in bin/images/$(ARCH); a Docker engine, if one runs, loads them
	@$(RELEASE) archives $(RELEASE_IMAGES) -output $(BIN)/images
	@# A Docker client without an engine is useless, so ask the engine.
	@if docker info >/dev/null 2>&1; then for image in init webhook node; do docker load --quiet --input $(BIN)/images/$(ARCH)/$$image.tar; done; fi

.PHONY: build-all
build-all:
	@for arch in $(ARCHITECTURES); do echo "building for $$arch ..."; $(MAKE) --silent build-images ARCH=$$arch; done

.PHONY: images-all
images-all: build-all ## archives of all images in bin/images, each for all $(ARCHITECTURES) in one index
	@$(RELEASE) images $(RELEASE_IMAGES) -output $(BIN)/images

.PHONY: push
push: build-all ## push all images, for all $(ARCHITECTURES), to IMAGE_REPOSITORY with your "docker login"
	@$(RELEASE) push $(RELEASE_IMAGES)

# LOAD is how archives get into the nodes: kind, minikube, k3s, or another command, which is given the path of an archive.
LOAD ?=
load/kind     := kind load image-archive
load/minikube := minikube image load
load/k3s      := k3s ctr images import
LOAD_COMMAND   = $(or $(load/$(LOAD)),$(LOAD))

.PHONY: load
load: override ARCHITECTURES = $(ARCH)
load: $(if $(LOAD),build) ## load the images into the nodes of a cluster, without a registry (LOAD=kind, minikube, k3s, or a command)
	@[ -n "$(LOAD)" ] || { echo "LOAD=kind, minikube, k3s or a command is required: docs/quick-start.md" >&2; exit 2; }
	@$(RELEASE) archives -local $(RELEASE_IMAGES) -output $(BIN)/load
	@set -e; for image in init webhook; do $(LOAD_COMMAND) $(BIN)/load/$(ARCH)/$$image.tar; done

.PHONY: image-tag
image-tag:
	@echo $(IMAGE_TAG)

.PHONY: clean
clean: ## remove bin/, the programs of the test cluster too
	rm -rf $(BIN)

## Deploy

.PHONY: deploy
deploy: ## deploy to the cluster of the current kubeconfig (INIT_IMAGE=, WEBHOOK_IMAGE=)
	@mkdir -p $(BIN)/deploy
	@sed -e 's|@INIT_IMAGE@|$(INIT_IMAGE)|' -e 's|@WEBHOOK_IMAGE@|$(WEBHOOK_IMAGE)|' config/deploy.yaml > $(BIN)/deploy/kustomization.yaml
	@# What was changed by hand belongs to another field manager. Without force, such an object alone would stay as it was.
	@conflicts=$$($(KUBECTL) apply --server-side --dry-run=server -k $(BIN)/deploy 2>&1 >/dev/null | grep -E 'conflicts? with |^- \.' || true); \
		[ -z "$$conflicts" ] || printf '%s\n' "make deploy overwrites what was changed by hand:" "$$conflicts"
	$(KUBECTL) apply --server-side --force-conflicts -k $(BIN)/deploy
	@for deployment in podinit-certificates podinit-webhook; do \
		$(KUBECTL) -n podinit-system rollout status deployment/$$deployment --timeout=180s || { echo "why, as far as Kubernetes says it (podinit check says more):" >&2; \
		$(KUBECTL) -n podinit-system get events --field-selector=type=Warning --sort-by=.lastTimestamp -o custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message | tail -n 8 >&2; exit 1; }; done

.PHONY: undeploy
undeploy: ## remove what deploy made, InitProfiles too; running pods keep running
	$(KUBECTL) delete --ignore-not-found -k config/default

## Test cluster: a real Kubernetes of one node or a few, from Go modules (test/cluster)

# How long each takes to build for the first time on two cores; later builds only link.
usual/kube-apiserver          := 3 to 6 minutes
usual/kubelet                 := 1 to 3 minutes
usual/kube-controller-manager := 1 to 2 minutes
usual/kube-scheduler          := half a minute
usual/kube-proxy              := half a minute
usual/kubectl                 := 1 minute
usual/etcd                    := 1 minute
usual/containerd              := 1 to 3 minutes
usual/containerd-shim-runc-v2 := half a minute
usual/ctr                     := half a minute
usual/registry                := 1 minute
usual/helm3                   := 1 to 2 minutes
usual/helm4                   := 2 to 4 minutes

# Programs of Kubernetes are stamped, since kubectl compares versions and cannot parse an unstamped one. $(call kubernetes-ldflags,version)
KUBERNETES_X := k8s.io/component-base/version
kubernetes-ldflags = -ldflags "-s -w -X $(KUBERNETES_X).gitVersion=$(1) -X $(KUBERNETES_X).gitMajor=1 -X $(KUBERNETES_X).gitMinor=$(word 2,$(subst ., ,$(1)))"
KUBERNETES_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" {print $$2}' test/cluster/build/kubernetes/go.mod)
KUBERNETES_PROGRAMS := kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl
CONTAINERD_PROGRAMS := containerd containerd-shim-runc-v2 ctr
CLUSTER_PROGRAMS := $(addprefix $(CLUSTER_BIN)/,$(KUBERNETES_PROGRAMS) etcd $(CONTAINERD_PROGRAMS) registry)

# $(call build-pinned,module directory below test,package,flags)
define build-pinned
	@mkdir -p $(@D); echo "building $(@F) for the tests (the first time $(usual/$(@F)), later seconds) ..."; began=$$SECONDS; \
	output=$(abspath $@); cd test/$(1); $(GO_BUILD) -o $$output $(3) $(2); echo "  $(@F) built in $$((SECONDS-began)) s"
endef

$(addprefix $(CLUSTER_BIN)/,$(KUBERNETES_PROGRAMS)): test/cluster/build/kubernetes/go.mod
	$(call build-pinned,cluster/build/kubernetes,k8s.io/kubernetes/cmd/$(@F),$(call kubernetes-ldflags,$(KUBERNETES_VERSION)))
$(CLUSTER_BIN)/etcd: test/cluster/build/kubernetes/go.mod
	$(call build-pinned,cluster/build/kubernetes,go.etcd.io/etcd/server/v3,-ldflags "-s -w")
$(addprefix $(CLUSTER_BIN)/,$(CONTAINERD_PROGRAMS)): test/cluster/build/containerd/go.mod
	$(call build-pinned,cluster/build/containerd,github.com/containerd/containerd/v2/cmd/$(@F),-ldflags "-s -w" -tags no_btrfs$(comma)no_devmapper$(comma)no_zfs)
$(CLUSTER_BIN)/registry: test/cluster/build/registry/go.mod
	$(call build-pinned,cluster/build/registry,github.com/distribution/distribution/v3/cmd/registry,-ldflags "-s -w")
comma := ,

# CRI-O, which a cluster takes in place of containerd where it is among its programs, and its helper in C.
$(BIN)/crio/crio: usual/crio := 2 minutes
$(BIN)/crio/crio: CGO_ENABLED := 1
$(BIN)/crio/crio: test/cluster/build/crio/go.mod
	$(call install,gcc libc6-dev libseccomp-dev pkg-config conmon)
	$(call build-pinned,cluster/build/crio,github.com/cri-o/cri-o/cmd/crio,-tags seccomp$(comma)exclude_graphdriver_btrfs$(comma)containers_image_openpgp$(comma)containers_image_ostree_stub -ldflags "-s -w")
$(BIN)/crio/pinns: test/cluster/build/crio/go.mod
	$(call install,gcc libc6-dev)
	@mkdir -p $(@D); cd $(<D); go mod download github.com/cri-o/cri-o; gcc -O2 -static -o $(abspath $@) $$(go list -m -f '{{.Dir}}' github.com/cri-o/cri-o)/pinns/src/*.c

.PHONY: cluster-programs
cluster-programs: $(CLUSTER_PROGRAMS) ## build what the test cluster runs (5 to 15 minutes the first time)
	@$(GO_BUILD) -ldflags "-s -w" -o $(CLUSTER_BIN)/pause ./test/cluster/pause
	@$(GO_BUILD) -o $(TEST_CLUSTER) ./test/cluster/cmd/podinit-cluster

## Helm, both of its versions that are in use, from Go modules (test/chart)

HELM_PROGRAMS := $(BIN)/helm/helm3 $(BIN)/helm/helm4
# Helm 3 assumes Kubernetes 1.20 unless a flag sets another version.
helm3_LDFLAGS := -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))

$(HELM_PROGRAMS): $(BIN)/helm/helm%: test/chart/build/helm%/go.mod
	$(call build-pinned,chart/build/$(@F),helm.sh/helm/v$*/cmd/helm,-ldflags "-s -w $($(@F)_LDFLAGS)")

.PHONY: helm-programs
helm-programs: $(HELM_PROGRAMS) ## build Helm 3 and 4 into bin/helm (2 to 6 minutes the first time)

# cert-manager's controllers and cainjector, as test/chart/build/certmanager puts them together.
$(BIN)/chart/certmanager: usual/certmanager := 2 to 4 minutes
$(BIN)/chart/certmanager: $(wildcard test/chart/build/certmanager/*)
	$(call build-pinned,chart/build/certmanager,.,-ldflags "-s -w")

# The definitions of kinds that the chart makes and Kubernetes does not have. $(call definitions,directory below
# test,module,files in it)
$(BIN)/chart/crds: test/chart/build/certmanager/go.mod test/chart/build/prometheus-operator/go.mod
	@rm -rf $@; mkdir -p $@
	@$(call definitions,chart/build/certmanager,github.com/cert-manager/cert-manager,deploy/crds/*.yaml)
	@$(call definitions,chart/build/prometheus-operator,github.com/prometheus-operator/prometheus-operator,example/prometheus-operator-crd/*_servicemonitors.yaml example/prometheus-operator-crd/*_prometheusrules.yaml)
definitions = output=$(abspath $@); cd test/$(1); go mod download $(2); cd $$(go list -m -f '{{.Dir}}' $(2)); cp --no-preserve=mode $(3) $$output

# Those of Argo CD and Flux, which the documentation's recipes are tried with. Flux' are made of its Go types.
$(BIN)/docs/crds: test/docs/build/argocd/go.mod test/docs/build/flux/go.mod
	@rm -rf $@; mkdir -p $@
	@$(call definitions,docs/build/argocd,github.com/argoproj/argo-cd/v3,manifests/crds/application-crd.yaml manifests/crds/applicationset-crd.yaml)
	@cd test/docs/build/flux && go tool -modfile=$(abspath api/generate/go.mod) controller-gen crd output:crd:dir=$(abspath $@) \
		paths="github.com/fluxcd/helm-controller/api/v2;github.com/fluxcd/source-controller/api/v1"

.PHONY: chart-programs
chart-programs: helm-programs $(BIN)/chart/certmanager $(BIN)/chart/crds

# Each folder that needs programs of the distribution lists Debian's packages; gcc is for the race detector.
CLUSTER_PACKAGES = $(shell sed 's/\#.*//' test/cluster/packages.txt)
# Those of suites that CI does not run are installed by their targets.
LONG_PACKAGES = test/kernels/packages.txt test/runtimes/packages.txt test/services/packages.txt
TEST_PACKAGES = gcc libc6-dev $(shell sed 's/\#.*//' initbin/packages.txt $(filter-out $(LONG_PACKAGES),$(wildcard test/*/packages.txt)))

# $(call install,packages) installs what is missing, without starting the services among them (policy-rc.d(8)).
# Elsewhere than on Debian and Ubuntu it does nothing: what needs a program says so.
define install
	@command -v dpkg-query >/dev/null || exit 0; missing=; \
	for package in $(1); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	[ $$(id -u) = 0 ] || { echo "these packages are missing: run 'sudo apt-get install$$missing'" >&2; exit 1; }; \
	echo "installing$$missing"; export DEBIAN_FRONTEND=noninteractive; policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; fi; \
	apt-get install -y -qq --no-install-recommends $$missing >/dev/null 2>&1 || \
		{ apt-get update -qq; apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
endef

.PHONY: cluster-deps
cluster-deps:
	$(call install,$(CLUSTER_PACKAGES))

.PHONY: deps
deps: ## install what the tests need from the distribution (Debian and Ubuntu, as root)
	$(call install,$(TEST_PACKAGES))

NODES ?= 1
.PHONY: cluster-up
cluster-up: cluster-deps cluster-programs ## start the test cluster (root; NODES=3: with so many nodes)
	@$(TEST_CLUSTER) up $(CLUSTER_BIN) $(NODES)

.PHONY: cluster-down
cluster-down: ## stop the test cluster and remove what it left
	@if [ -x $(TEST_CLUSTER) ]; then $(TEST_CLUSTER) down; else echo "the test cluster was never built here"; fi

# What "make deploy" is for the test cluster: images through its registry, by digest.
.PHONY: cluster-deploy
cluster-deploy: images
	@init=$$($(TEST_CLUSTER) push $(BIN)/images/$(ARCH)/init.tar podinit/init); webhook=$$($(TEST_CLUSTER) push $(BIN)/images/$(ARCH)/webhook.tar podinit/webhook); \
	KUBECONFIG=$$($(TEST_CLUSTER) kubeconfig) $(MAKE) deploy KUBECTL=$(abspath $(CLUSTER_BIN)/kubectl) INIT_IMAGE=$$init WEBHOOK_IMAGE=$$webhook

# Node mode on the test cluster, as well as the webhook. make demo removes it again, since the suites that test the webhook run without it.
.PHONY: cluster-deploy-node
cluster-deploy-node: images
	@mkdir -p $(BIN)/deploy-node; init=$$($(TEST_CLUSTER) push $(BIN)/images/$(ARCH)/init.tar podinit/init); node=$$($(TEST_CLUSTER) push $(BIN)/images/$(ARCH)/node.tar podinit/node); \
	sed -e "s|@INIT_IMAGE@|$$init|" -e "s|@NODE_IMAGE@|$$node|" -e "s|@DIRECTORY@|$$(dirname $$($(TEST_CLUSTER) kubeconfig))/podinit|" test/cluster/node_mode.yaml > $(BIN)/deploy-node/kustomization.yaml; \
	export KUBECONFIG=$$($(TEST_CLUSTER) kubeconfig); $(CLUSTER_BIN)/kubectl apply --server-side --force-conflicts -k $(BIN)/deploy-node; \
	$(CLUSTER_BIN)/kubectl -n podinit-node rollout status daemonset/podinit-node --timeout=180s

# The InitProfile definition, which config/node has too, stays.
.PHONY: cluster-undeploy-node
cluster-undeploy-node:
	@KUBECONFIG=$$($(TEST_CLUSTER) kubeconfig) $(CLUSTER_BIN)/kubectl delete --ignore-not-found namespace/podinit-node clusterrole/podinit-node clusterrolebinding/podinit-node

# CLUSTER is the test cluster, or "current": the one that kubectl talks to. What that needs, test/current.sh says.
CLUSTER ?= test
ON_CURRENT = KUBECTL="$(KUBECTL)" IMAGE_REPOSITORY="$(if $(filter file,$(origin IMAGE_REPOSITORY)),,$(IMAGE_REPOSITORY))" \
	INIT_IMAGE="$(if $(filter file,$(origin INIT_IMAGE)),,$(INIT_IMAGE))" WEBHOOK_IMAGE="$(if $(filter file,$(origin WEBHOOK_IMAGE)),,$(WEBHOOK_IMAGE))" \
	DEMO_IMAGE="$(DEMO_IMAGE)" INSTALL="$(INSTALL)" INSECURE="$(INSECURE)" LOAD="$(LOAD)" LOAD_COMMAND="$(LOAD_COMMAND)"

.PHONY: demo
ifeq ($(CLUSTER),test)
demo: cluster-up cluster-deploy cluster-deploy-node ## the same troubled pods without podinit, with it, and with node mode, side by side, on a real cluster (CLUSTER=current: on yours)
	@trap '$(MAKE) cluster-undeploy-node' EXIT; \
	go run ./test/demo -kubeconfig $$($(TEST_CLUSTER) kubeconfig) -push $$($(TEST_CLUSTER) registry)/podinit-demo:latest -plain-http
	@echo; echo "The cluster is still up, with the webhook ('make cluster-deploy-node' brings node mode back). 'make cluster-down' stops it; to look around first:"; $(TEST_CLUSTER) status
else ifeq ($(CLUSTER),current)
demo:
	@$(ON_CURRENT) test/current.sh demo
else
demo:
	@echo "CLUSTER=$(CLUSTER): want 'test' (the default) or 'current', the cluster that kubectl talks to" >&2; exit 2
endif

## Test

GO_UNIT = $(shell go list ./... 2>/dev/null | grep -v -E '/podinit/(initbin|test/(brokeninstalls|chart|cluster|conformance|debianimage|docs/run|e2e|hostile|kubelet|never-worse|nodemode|nodes|observe|operate|release|runtimeclasses|unpullable)(/.*)?)$$')

# The suites from test-e2e on share a cluster, in this order: test-init-image ends by taking podinit away, test-operate begins so.
.PHONY: test
test: deps lint licences test-race test-observe test-init test-conformance test-never-worse test-hostile test-kubelet test-release test-cluster test-e2e test-check test-docs test-init-image test-operate test-chart ## everything that CI runs: unit tests with -race, then the suites on the real thing
	@$(MAKE) cluster-down

# Those of the product. Those of its suites and of the release run in test-race.
GO_PRODUCT = $(filter-out $(addprefix github.com/podinit/podinit/,test/% release%),$(GO_UNIT))

.PHONY: test-unit
test-unit: ## the product's tests that need nothing but Go, and which of them are slow
	@# Without vet, which make lint runs. The list of what is slow keeps this loop short. Most of the time the compiler works, and
	@# collecting its garbage less often saves a fifth of that.
	GOGC=400 go test -vet=off -json $(GO_PRODUCT) | go run ./test/slowest

.PHONY: test-race
test-race:
	CGO_ENABLED=1 go test -race $(GO_UNIT) ./test/debianimage
	@# Three times what make test-unit generates.
	CGO_ENABLED=1 go test -race ./internal/inject -args -pods=3000 -documents=5000

.PHONY: test-observe
test-observe: deps ## the alerts with promtool, the metrics that alerts and dashboard name, and the dashboard's queries with Prometheus
	go -C test/observe/promql vet .
	go test -count=1 ./test/observe/...

.PHONY: test-init
test-init: deps ## the init's own tests, in PID namespaces of their own, on every architecture (root)
	@# Most of its time it sleeps.
	go test -count=1 -parallel 4 ./initbin

.PHONY: test-release
test-release: deps $(BIN)/helm/helm4 ## two releases of the work tree are the same byte for byte, and work (root)
	go test -count=1 -timeout 60m ./test/release -args -helm $(abspath $(BIN)/helm/helm4) $(RELEASE_SIZE)

# Sizes. As they stand here they are those for CI; test-long has the ones that the product promises.
CONFORMANCE_SIZE ?=
NEVER_WORSE_SIZE ?= -trees 300 -seed 1
HOSTILE_SIZE ?=
RELEASE_SIZE ?=
GENERATED_PODS ?= 300
OPERATE_SIZE ?=
NODE_SIZE ?=

.PHONY: test-long
test-long: deps build helm-programs ## all tests, with storms of full size, 300,000 generated pods, the peers, and Kubernetes' own (four hours)
	go test -count=1 -timeout 120m ./internal/inject -run Properties -pods=300000
	go test -count=1 -timeout 60m -tags peers -run TestPeers ./test/conformance
	@$(MAKE) test-node cluster-down NODE_SIZE='-storm 1000 -restarts 10'
	@$(MAKE) test-nodes cluster-down
	@$(MAKE) test-upstream cluster-down
	@$(MAKE) test-services
	@$(MAKE) test-never-worse-gvisor NEVER_WORSE_SIZE='-trees 1000 -seed $(shell date +%Y%m%d)'
	@$(MAKE) test CONFORMANCE_SIZE=-long NEVER_WORSE_SIZE='-trees 3000 -seed $(shell date +%Y%m%d)' GENERATED_PODS=3000 RELEASE_SIZE='-cold -architectures "$(ARCHITECTURES)" -platforms "$(PLATFORMS)"' \
		HOSTILE_SIZE='-scale 1 -time 20s' OPERATE_SIZE="-rounds 10 -helm $(abspath $(BIN))/helm/helm4"

.PHONY: test-conformance
test-conformance: deps build ## the init through every behaviour, in PID namespaces of its own (root)
	go test -count=1 -timeout 60m -v ./test/conformance -args -init $(abspath $(BIN)/linux/$(ARCH)/init) $(CONFORMANCE_SIZE)

.PHONY: test-never-worse
test-never-worse: deps build ## generated trees of processes under podinit, without an init, and under tini: podinit is never worse (root)
	go test -count=1 -timeout 120m -v ./test/never-worse -args -init $(abspath $(BIN)/linux/$(ARCH)/init) $(NEVER_WORSE_SIZE)

# gVisor's runsc, from its Go module.
RUNSC_VERSION = $(shell awk '$$1 == "gvisor.dev/gvisor" {print $$2}' test/never-worse/gvisor/go.mod)
$(BIN)/runsc: usual/runsc := 2 minutes
$(BIN)/runsc: test/never-worse/gvisor/go.mod
	$(call build-pinned,never-worse/gvisor,gvisor.dev/gvisor/runsc,-ldflags "-s -w -X gvisor.dev/gvisor/runsc/version.version=$(RUNSC_VERSION)")

.PHONY: test-never-worse-gvisor
test-never-worse-gvisor: deps build $(BIN)/runsc ## the same inside gVisor, whose /proc says little (root)
	go test -count=1 -timeout 120m -v -run TestNeverWorse ./test/never-worse -args -init $(abspath $(BIN)/linux/$(ARCH)/init) -runsc $(abspath $(BIN)/runsc) -parallel 16 -allowed 5 $(NEVER_WORSE_SIZE)

# What virtual machines and containers of other runtimes run: the init, and its suite.
CONFORMANCE_PACKAGES = $(shell sed 's/\#.*//' test/conformance/packages.txt)
.PHONY: compatibility-programs
compatibility-programs: build-init
	@for program in conformance kernels/guest; do \
		GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -ldflags "-s -w" -o $(BIN)/compatibility/$(ARCH)/$${program##*/} ./test/$$program; \
	done; cp $(BIN)/linux/$(ARCH)/init $(BIN)/compatibility/$(ARCH)

# These are not among those of "make test": what they find changes with kernels, runtimes and versions of Kubernetes, not with podinit.
KERNELS ?=
RUNTIMES ?=
SERVICES ?=
.PHONY: test-kernels
test-kernels: ## the init on Debian's kernels in virtual machines, results in docs/compatibility.md (root; KERNELS='-kernels arm64')
	$(call install,$(shell sed 's/\#.*//' test/kernels/packages.txt))
	@for arch in amd64 arm64 ppc64le; do $(MAKE) --silent compatibility-programs ARCH=$$arch; done
	go run ./test/kernels -programs $(BIN)/compatibility -packages "$(CONFORMANCE_PACKAGES)" -write docs/compatibility.md $(KERNELS)

.PHONY: test-runtimes
test-runtimes: $(BIN)/runsc ## the init's suite in containers of runc, crun and gVisor, results in docs/compatibility.md (root)
	$(call install,$(shell sed 's/\#.*//' test/runtimes/packages.txt))
	@$(MAKE) --silent compatibility-programs
	go run ./test/runtimes -programs $(BIN)/compatibility/$(ARCH) -runsc $(abspath $(BIN)/runsc) -packages "$(CONFORMANCE_PACKAGES)" -write docs/compatibility.md $(RUNTIMES)

.PHONY: test-services
test-services: build-init ## services of Debian's stopped without an init, under tini and podinit, results in docs/comparison.md (root; SERVICES='-services MariaDB')
	$(call install,$(shell sed 's/\#.*//' test/services/packages.txt))
	go run ./test/services -init $(BIN)/linux/$(ARCH)/init -write docs/comparison.md $(SERVICES)

# Another version of Kubernetes, as its own go.mod and go.sum have it, with those of its parts that are modules: kubectl stands for
# all programs of $(BIN)/versions/v1.30.14. Up to 1.30 they have code for clouds, unless they are built without. The test cluster's
# own version is there already.
$(BIN)/versions/%/kubectl:
	@echo "building Kubernetes $* for the tests (10 minutes)"; began=$$SECONDS; mkdir -p $(@D)/build; cd $(@D)/build; echo 'module versions' >go.mod; \
	go mod download k8s.io/kubernetes@$*; source=$$(go mod download -json k8s.io/kubernetes@$* | sed -n 's/.*"Dir": "\(.*\)",/\1/p'); cp --no-preserve=mode $$source/go.sum .; \
	sed -e 's|^module .*|module versions|' -e 's|=> ./staging/src/\(k8s.io/.*\)|=> \1 v0$(patsubst v1%,%,$*)|' $$source/go.mod >go.mod; \
	echo 'require k8s.io/kubernetes $*' >>go.mod; \
	$(GO_BUILD) -mod=mod -tags providerless $(call kubernetes-ldflags,$*) -o .. $(addprefix k8s.io/kubernetes/cmd/,$(KUBERNETES_PROGRAMS)); echo "  built in $$((SECONDS-began)) s"
$(BIN)/versions/$(KUBERNETES_VERSION)/kubectl: $(addprefix $(CLUSTER_BIN)/,$(KUBERNETES_PROGRAMS))
	@mkdir -p $(@D); ln -sf $(abspath $^) $(@D)

# runc, since that of Debian 12 has no user namespaces for pods (it maps no IDs of mounts).
$(BIN)/runc: usual/runc := half a minute
$(BIN)/runc: CGO_ENABLED := 1
$(BIN)/runc: test/runtimeclasses/build/runc/go.mod
	$(call install,gcc libc6-dev libseccomp-dev pkg-config)
	$(call build-pinned,runtimeclasses/build/runc,github.com/opencontainers/runc,-tags seccomp -ldflags "-s -w -X main.version=$(RUNC_VERSION)")
RUNC_VERSION = $(shell awk '$$1 == "github.com/opencontainers/runc" {print $$2}' test/runtimeclasses/build/runc/go.mod)

# gVisor's shim lowers its own OOM score and gives up where it may not, without CAP_SYS_RESOURCE. Containers need nothing of that.
$(BIN)/containerd-shim-runsc-v1: usual/containerd-shim-runsc-v1 := 1 minute
$(BIN)/containerd-shim-runsc-v1: copy = $(abspath $@).source
$(BIN)/containerd-shim-runsc-v1: test/never-worse/gvisor/go.mod
	@rm -rf $(copy); mkdir -p $(copy); cd $(<D); go mod download gvisor.dev/gvisor; cp -r --no-preserve=mode $$(go list -m -f '{{.Dir}}' gvisor.dev/gvisor) $(copy)/gvisor; \
	sed -i 's|return .*failed to set OOM Score on shim.*|// It is not permitted everywhere.|' $(copy)/gvisor/pkg/shim/v1/manager.go; \
	cp go.mod go.sum $(copy); go mod edit -replace gvisor.dev/gvisor=$(copy)/gvisor $(copy)/go.mod
	$(call build-pinned,never-worse/gvisor,gvisor.dev/gvisor/shim,-ldflags "-s -w" -modfile $(copy)/go.mod)

RUNTIMECLASSES ?=
.PHONY: test-runtimeclasses
test-runtimeclasses: $(addprefix $(BIN)/,runc runsc containerd-shim-runsc-v1) cluster-up cluster-deploy cluster-deploy-node ## wrapped pods with runc, crun and gVisor as RuntimeClasses and in user namespaces, results in docs/compatibility.md (root; RUNTIMECLASSES='-run /gvisor')
	@trap '$(MAKE) cluster-undeploy-node' EXIT; \
	go test -count=1 -timeout 30m -v $(RUNTIMECLASSES) ./test/runtimeclasses -args -programs $(abspath $(BIN)) -write $(abspath docs/compatibility.md)

VERSIONS ?=
.PHONY: test-versions
test-versions: cluster-deps cluster-programs images helm-programs ## podinit on each minor version of Kubernetes, results in docs/compatibility.md (root; VERSIONS='-versions 1.30,1.37')
	go run ./test/versions -programs $(CLUSTER_BIN) -images $(BIN)/images/$(ARCH) -helm $(BIN)/helm -write docs/compatibility.md $(VERSIONS)

.PHONY: test-hostile
test-hostile: deps build $(CLUSTER_BIN)/etcd $(CLUSTER_BIN)/kube-apiserver ## hostile tenants, neighbours and registries against the webhook under its memory limit (root)
	go test -count=1 -timeout 60m -v ./test/hostile -args -bin $(abspath $(CLUSTER_BIN)) -webhook $(abspath $(BIN)/linux/$(ARCH)/podinit-webhook) $(HOSTILE_SIZE)

# The kubelet's managers, of the same code as the test cluster's kubelet.
$(CLUSTER_BIN)/managers: usual/managers := 3 minutes
$(CLUSTER_BIN)/managers: $(wildcard test/cluster/build/kubernetes/managers/*) test/cluster/build/kubernetes/go.mod
	$(call build-pinned,cluster/build/kubernetes,./managers,-ldflags "-s -w")

.PHONY: test-kubelet
test-kubelet: $(CLUSTER_BIN)/managers ## what the kubelet's managers of topology, CPUs and memory give to wrapped pods
	go test -count=1 ./test/kubelet -args -managers $(abspath $(CLUSTER_BIN)/managers)

.PHONY: conformance
conformance: deps build ## which init has which behaviour: podinit, tini, dumb-init, catatonit
	go run ./test/conformance -init podinit=$(BIN)/linux/$(ARCH)/init -init tini=/usr/bin/tini -init dumb-init=/usr/bin/dumb-init -init catatonit=/usr/bin/catatonit

.PHONY: test-cluster
test-cluster: cluster-deps cluster-programs ## the test cluster itself: up, crash, up, down, with one node and with three (root)
	go test -count=1 -v ./test/cluster -args -bin $(abspath $(CLUSTER_BIN))

.PHONY: test-e2e
ifeq ($(CLUSTER),current)
test-e2e:
	@$(ON_CURRENT) test/current.sh e2e
else
test-e2e: cluster-up cluster-deploy ## the suites on the real cluster (root; CLUSTER=current: on yours, without root, those that can run there)
	@# The demo on a cluster that has podinit already: podinit stays.
	KUBECONFIG=$$($(TEST_CLUSTER) kubeconfig) $(MAKE) demo CLUSTER=current KUBECTL=$(abspath $(CLUSTER_BIN)/kubectl) \
		IMAGE_REPOSITORY=$$($(TEST_CLUSTER) registry)/podinit INSECURE=yes
	go test -count=1 -timeout 30m -v ./test/e2e -args -generated $(GENERATED_PODS)
endif

.PHONY: test-docs
test-docs: deps $(BIN)/helm/helm4 $(BIN)/docs/crds cluster-up cluster-deploy ## every command of the documentation, on the real cluster (root)
	go test -count=1 ./test/docs
	go test -count=1 -timeout 20m -v ./test/docs/run

.PHONY: test-check
test-check: cluster-up cluster-deploy ## podinit check finds what is wrong with broken installations, on the real cluster (root)
	go test -count=1 -timeout 10m -v ./test/brokeninstalls -args -deployed $(abspath $(BIN)/deploy)

.PHONY: test-init-image
test-init-image: cluster-up images ## an init image that cannot be pulled does not roll out and strands no pod, on the real cluster (root)
	go test -count=1 -timeout 15m -v ./test/unpullable -args -images $(abspath $(BIN)/images/$(ARCH))

.PHONY: test-operate
test-operate: cluster-up images ## install, upgrade, drain, kill, renew and remove under a load of pod creations, and is each right needed (root)
	go test -count=1 -timeout 60m -v ./test/operate -args -images $(abspath $(BIN)/images/$(ARCH)) $(OPERATE_SIZE)

.PHONY: test-chart
test-chart: chart-programs cluster-up images ## the Helm chart, with Helm 3 and 4 on the real cluster (root)
	go test -count=1 -timeout 20m -v ./test/chart -args $(CHART_FLAGS) -cluster -images $(abspath $(BIN)/images/$(ARCH)) -programs $(abspath $(BIN)/chart)

# Not among those of "make test": it takes the cluster's podinit away, restarts containerd, and takes three minutes.
.PHONY: test-node
test-node: cluster-up images ## node mode, with no webhook, on the real cluster (root)
	go test -count=1 -timeout 40m -v ./test/nodemode -args -images $(abspath $(BIN)/images/$(ARCH)) $(NODE_SIZE)

# Not among those of "make test": it takes three nodes, and ten minutes, since Kubernetes takes its time to notice that a node is lost. The
# cluster is a new one, since other suites leave pods that a drain would not delete.
.PHONY: test-nodes
test-nodes: images ## podinit on three nodes: spread, drained, one of them lost, new, or unlike the others (root)
	@$(MAKE) cluster-down cluster-up NODES=3
	go test -count=1 -timeout 40m -v ./test/nodes -args -images $(abspath $(BIN)/images/$(ARCH))

# Kubernetes' own tests and what runs them, of the same version as the test cluster's programs.
UPSTREAM_BIN := $(BIN)/upstream
$(UPSTREAM_BIN)/e2e.test: usual/e2e.test := 3 to 6 minutes
$(UPSTREAM_BIN)/ginkgo: usual/ginkgo := half a minute
$(UPSTREAM_BIN)/agnhost: usual/agnhost := half a minute
$(UPSTREAM_BIN)/nonewprivs: usual/nonewprivs := seconds
# Without vet, which would take as long again.
$(UPSTREAM_BIN)/e2e.test: GO_BUILD := go test -c -vet=off -trimpath
$(UPSTREAM_BIN)/e2e.test: test/upstream/build/go.mod
	$(call build-pinned,upstream/build,k8s.io/kubernetes/test/e2e,$(call kubernetes-ldflags,$(KUBERNETES_VERSION)))
$(UPSTREAM_BIN)/ginkgo: test/upstream/build/go.mod
	$(call build-pinned,upstream/build,github.com/onsi/ginkgo/v2/ginkgo,-ldflags "-s -w")
$(UPSTREAM_BIN)/agnhost $(UPSTREAM_BIN)/nonewprivs: test/upstream/build/go.mod
	$(call build-pinned,upstream/build,k8s.io/kubernetes/test/images/$(@F),-ldflags "-s -w")

# CoreDNS, the cluster's nameserver while they run, of the version that Kubernetes' manifest names.
$(UPSTREAM_BIN)/coredns: usual/coredns := 1 to 2 minutes
$(UPSTREAM_BIN)/coredns: $(wildcard test/upstream/build/coredns/*)
	$(call build-pinned,upstream/build/coredns,.,-ldflags "-s -w")

UPSTREAM_FILES := $(addprefix $(UPSTREAM_BIN)/,localhost.crt localhost.key coredns.yaml.base)
$(UPSTREAM_BIN)/localhost.%: from := test/images/agnhost/porter
$(UPSTREAM_BIN)/coredns.yaml.base: from := cluster/addons/dns/coredns
$(UPSTREAM_FILES): test/upstream/build/go.mod
	@mkdir -p $(@D); cd test/upstream/build; go mod download k8s.io/kubernetes; cp --no-preserve=mode $$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/$(from)/$(@F) $(abspath $@)

# Not among those of "make test": it takes an hour and a half. The cluster is a new one, since a node keeps the images that it has.
UPSTREAM ?=
.PHONY: test-upstream
test-upstream: $(addprefix $(UPSTREAM_BIN)/,e2e.test ginkgo agnhost nonewprivs coredns) $(UPSTREAM_FILES) images ## Kubernetes' own conformance tests without podinit and with every pod wrapped, results in docs/compatibility.md (root; UPSTREAM="-suites network -runs 'without|node'")
	@$(MAKE) cluster-down cluster-up
	go run ./test/upstream -programs $(abspath $(UPSTREAM_BIN)) -images $(BIN)/images/$(ARCH) -results $(abspath $(UPSTREAM_BIN))/results \
		-version $(KUBERNETES_VERSION) -write docs/compatibility.md $(UPSTREAM)

CHART_FLAGS = -helm $(abspath $(BIN)/helm) -kubectl $(abspath $(CLUSTER_BIN)/kubectl)

.PHONY: test-chart-render
test-chart-render: helm-programs $(CLUSTER_BIN)/kubectl ## what the chart makes of its values, without a cluster, in seconds
	go test -count=1 -skip '^(TestCertificates|TestHostNetwork|TestLifecycle|TestValidated)$$' ./test/chart -args $(CHART_FLAGS)

# controller-gen is pinned in a module of its own. $(call generate,directory) writes what is generated below a directory.
CONTROLLER_GEN := go tool -modfile=api/generate/go.mod controller-gen
define generate
	mkdir -p $(1)/api/v1alpha1 $(1)/config/crd $(1)/docs/reference $(1)/docs/images
	$(CONTROLLER_GEN) object crd paths=./api/... output:object:dir=$(1)/api/v1alpha1 output:crd:dir=$(1)/config/crd
	go run ./internal/reason/document >$(1)/docs/reasons.md
	go run ./internal/reference/document $(1)/docs/reference
	go run ./test/docs/pictures draw $(1)/docs/images
	mkdir -p $(1)/charts/podinit/files
	cp $(1)/config/crd/podinit.dev_initprofiles.yaml config/webhook/mutating_webhook.yaml config/policy/validating_admission_policy.yaml \
		config/prometheus/prometheus_rule.yaml config/prometheus/dashboard.json $(1)/charts/podinit/files
	cp config/nodeprometheus/prometheus_rule.yaml $(1)/charts/podinit/files/node_prometheus_rule.yaml
endef

.PHONY: generate
generate: ## write the CustomResourceDefinition, deep copies, docs/reasons.md, docs/reference, pictures and the chart's copies from the source
	@$(call generate,.)

.PHONY: verify
verify: ## check that the generated files are up to date
	@rm -rf $(BIN)/_verify # Go overlooks directories that begin with _
	@$(call generate,$(BIN)/_verify)
	@for file in $$(cd $(BIN)/_verify && find . -type f); do diff -u $$file $(BIN)/_verify/$$file || { echo "run make generate" >&2; exit 1; }; done

.PHONY: bench
bench: deps build ## measure the init against tini, dumb-init and catatonit, admission against none, and lookups (root)
	go run ./test/bench/init -init $(BIN)/linux/$(ARCH)/init
	go run ./test/bench/admission
	go run ./test/bench/lookup

# Not part of "make bench": it takes the test cluster.
.PHONY: bench-node
bench-node: cluster-up cluster-deploy cluster-deploy-node ## measure node mode against the webhook's deliveries and no init, on the real cluster (root)
	@trap '$(MAKE) cluster-undeploy-node' EXIT; go run ./test/bench/node $(BENCH_NODE)

# KWOK's controller, which plays the kubelets of nodes that are not there, and its Stages: what becomes of nodes and pods.
$(BIN)/scale/kwok: usual/kwok := 1 to 3 minutes
$(BIN)/scale/kwok: test/bench/scale/build/go.mod
	$(call build-pinned,bench/scale/build,sigs.k8s.io/kwok/cmd/kwok,-ldflags "-s -w")
KWOK_STAGES = node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-ready pod/fast/pod-delete
$(BIN)/scale/stages: test/bench/scale/build/go.mod
	@rm -rf $@; mkdir -p $@
	@$(call definitions,bench/scale/build,sigs.k8s.io/kwok,$(patsubst %,kustomize/stage/%.yaml,$(KWOK_STAGES)))

# Not part of "make bench": it takes a quiet machine.
.PHONY: bench-scale
bench-scale: build $(CLUSTER_BIN)/etcd $(CLUSTER_BIN)/kube-apiserver $(BIN)/scale/kwok $(BIN)/scale/stages ## measure how podinit grows, up to 5,000 simulated nodes, results in docs/scale.md (root; BENCH_SCALE='-sizes 100/1000')
	go run ./test/bench/scale -programs $(CLUSTER_BIN) -webhook $(BIN)/linux/$(ARCH)/podinit-webhook -podinit $(BIN)/podinit -kwok $(BIN)/scale/kwok \
		-stages $(BIN)/scale/stages -write docs/scale.md $(BENCH_SCALE)

.PHONY: licences
licences: ## check the licences of all linked modules
	@$(RELEASE) licences $(RELEASE_IMAGES) -platforms "$(PLATFORMS)"

VULN_DB ?= https://vuln.go.dev

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked, from the database at VULN_DB
	@go tool -modfile=test/vuln/go.mod govulncheck -db $(VULN_DB) ./... || { code=$$?; [ $$code = 3 ] || \
		echo "govulncheck did not get as far as an answer. It needs its database, $(VULN_DB); a copy does, too: make vuln VULN_DB=file:///path" >&2; exit $$code; }

# golangci-lint is pinned in a module of its own, too: its own dependencies are many. It takes minutes to build, once.
LINTER := $(BIN)/golangci-lint
$(LINTER): test/lint/go.mod
	@mkdir -p $(BIN); echo "building golangci-lint (once, 2 to 4 minutes) ..."; cd test/lint && \
		$(GO_BUILD) -ldflags "-s -w" -o $(abspath $@) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: lint
lint: verify $(LINTER) ## gofmt, go vet, golangci-lint and make verify
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "run gofmt -w on:"; echo "$$bad"; exit 1; }
	go vet ./...
	$(LINTER) run ./...

## Release

# What the CLI is built for.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: release
release: build-all ## make everything that is shipped, in dist/ (VERSION=v1.2.3); then "make push VERSION=v1.2.3" for the images
	@for platform in $(PLATFORMS); do \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; echo "building podinit for $$platform ..."; \
		suffix=; if [ $$GOOS = windows ]; then suffix=.exe; fi; \
		$(GO_BUILD) -ldflags "-s -w $(VERSION_X)" -o $(BIN)/$$platform/podinit$$suffix ./cmd/podinit; \
	done
	@$(RELEASE) dist $(RELEASE_IMAGES) -platforms "$(PLATFORMS)" -output dist
