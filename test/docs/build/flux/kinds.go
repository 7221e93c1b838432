// Package flux names the packages of Flux' kinds, of which controller-gen makes their CustomResourceDefinitions: the
// modules of the kinds do not have these.
package flux

import (
	_ "github.com/fluxcd/helm-controller/api/v2"
	_ "github.com/fluxcd/source-controller/api/v1"
)
