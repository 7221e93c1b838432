// The Prometheus Operator's definitions, example/prometheus-operator-crd, are all that is wanted: nothing is built. "go mod
// tidy" would take the line away.
module github.com/podinit/podinit/test/chart/build/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
