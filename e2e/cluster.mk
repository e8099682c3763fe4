# The real Kubernetes of the end-to-end tests: its programs, the two clusters, the tests. See e2e/README.md.

E2E_BIN        := build/e2e/bin
E2E_KUBERNETES := kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl
E2E_BINARIES   := $(addprefix $(E2E_BIN)/,$(E2E_KUBERNETES) etcd helm kwok coredns kwok-stages.yaml)
E2E_PACKAGES   := containerd runc containernetworking-plugins iptables conntrack buildah debootstrap busybox-static openssl
KUBERNETES_VERSION := 1.34.4
# Nodes of `make cluster-control`, each with 8 GPUs.
NODES ?= 4

E2E       := $(BIN)/python -m e2e.cluster
E2E_READY := $(E2E_BINARIES) .venv/installed-dev
# What `go build` is told everywhere: static programs without symbol tables.
GO_BUILD  := CGO_ENABLED=0 go build -buildvcs=false

.PHONY: cluster
cluster: $(E2E_READY) e2e-packages  ## start a real Kubernetes node on this machine and leave it up (root)
	$(E2E) up cluster

.PHONY: cluster-control
cluster-control: $(E2E_READY)  ## start a control plane with NODES=4 nodes played by kwok
	$(E2E) up control --nodes $(NODES)

.PHONY: cluster-down
cluster-down: .venv/installed-dev  ## end both and remove what they left on the machine
	$(E2E) down cluster control

# Never remove folders in which pods have mounted others.
clean: e2e-clean
.PHONY: e2e-clean
e2e-clean:
	if [ -d build/e2e/cluster/processes ] || [ -d build/e2e/control/processes ]; then $(MAKE) cluster-down; fi

.PHONY: e2e-control
e2e-control: $(E2E_READY)  ## the tests that need no pods, against a real control plane
	$(BIN)/pytest $(AGAIN) e2e/control

.PHONY: e2e
e2e: $(E2E_READY) e2e-packages  ## the tests with real pods (root)
	[ -n "$${E2E_KUBECONFIG:-}" ] || $(E2E) image operator gateway engine
	$(BIN)/pytest $(AGAIN) e2e/pods

# ---- its programs --------------------------------------------------------------------------------------------------

.PHONY: e2e-binaries
e2e-binaries: $(E2E_BINARIES)  ## build Kubernetes, etcd, helm, kwok and CoreDNS from their modules (Go)

.PHONY: e2e-packages
e2e-packages:
	@missing=$$(for package in $(E2E_PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -q '^installed' || echo $$package; done); \
	if [ -z "$$missing" ] || [ -n "$${E2E_KUBECONFIG:-}" ]; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; \
	else echo "these Debian packages were wanted and are missing:" $$missing >&2; exit 1; fi

$(addprefix $(E2E_BIN)/,$(E2E_KUBERNETES)) &: e2e/tools/kubernetes/go.mod
	mkdir -p $(E2E_BIN)
	cd e2e/tools/kubernetes && $(GO_BUILD) -o $(CURDIR)/$(E2E_BIN)/ -ldflags "-s -w \
	    -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES_VERSION) \
	    -X k8s.io/component-base/version.gitMajor=$(word 1,$(subst ., ,$(KUBERNETES_VERSION))) \
	    -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))" \
	    $(addprefix k8s.io/kubernetes/cmd/,$(E2E_KUBERNETES))
	touch $(addprefix $(E2E_BIN)/,$(E2E_KUBERNETES))

$(E2E_BIN)/%: e2e/tools/%/go.mod
	mkdir -p $(E2E_BIN)
	cd e2e/tools/$* && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ $$(go list tool)
	touch $@

# How kwok plays: the stages of its own module, nodes that beat and pods that are ready at once.
$(E2E_BIN)/kwok-stages.yaml: e2e/tools/kwok/go.mod
	mkdir -p $(E2E_BIN)
	cd e2e/tools/kwok && for stage in node/fast node/heartbeat-with-lease pod/fast; do \
	    for file in $$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage/$$stage/*.yaml; do \
	        case $$file in */kustomization.yaml) ;; *) echo '---'; cat $$file;; esac; done; done > $(CURDIR)/$@
