// Argo CD's definitions, manifests/crds, are all that is wanted: nothing is built. "go mod tidy" would take the line away.
module github.com/podinit/podinit/test/docs/build/argocd

go 1.26.0

require github.com/argoproj/argo-cd/v3 v3.4.13
