package registry

import (
	"net/http"
	"testing"

	"github.com/podinit/podinit/internal/imageconfig"
)

// dialFake has all connections for an image go to fake hosts. The route holds for as long as the clock stands still.
func dialFake(t *testing.T, r *Registries, ref imageconfig.Reference, n *fakeNet) {
	t.Helper()
	r.routeOf(t.Context(), containerdName(ref.Registry))
	for _, g := range r.guards {
		g.direct.(*http.Transport).DialContext = n.dial
	}
	for _, g := range r.pool {
		g.direct.(*http.Transport).DialContext = n.dial
	}
}
