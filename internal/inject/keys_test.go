package inject

import (
	"strings"
	"testing"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestSuggest(t *testing.T) {
	for _, c := range []struct {
		place, other keyKind
		key, want    string
	}{
		{annotationKeys, labelKeys, "skip-container", "did you mean podinit.dev/skip-containers?"},
		{annotationKeys, labelKeys, "skipcontainers", "did you mean podinit.dev/skip-containers?"},
		{annotationKeys, labelKeys, "container", "did you mean podinit.dev/containers?"},
		{annotationKeys, labelKeys, "flag.main", "did you mean podinit.dev/flags.main?"},
		{annotationKeys, labelKeys, "flags", "did you mean podinit.dev/flags.<container>?"},
		{annotationKeys, labelKeys, "entry-point.a.b", "did you mean podinit.dev/entrypoint.a.b?"},
		{annotationKeys, labelKeys, "inejct", "did you mean podinit.dev/inject?"},
		{annotationKeys, labelKeys, "profiles", "did you mean podinit.dev/profile?"},
		{annotationKeys, labelKeys, "grace.app", "did you mean podinit.dev/flags.app: --grace=...?"},
		{annotationKeys, labelKeys, "owner", ""},
		{annotationKeys, labelKeys, "", ""},
		{annotationKeys, labelKeys, strings.Repeat("x", 1<<20), ""},
		{labelKeys, annotationKeys, "skip-containers", "it counts only as an annotation"},
		{labelKeys, annotationKeys, "flags.app", "it counts only as an annotation"},
		{labelKeys, annotationKeys, "injected", "did you mean podinit.dev/inject?"},
	} {
		if got := c.place.suggest(v1alpha1.Group+"/"+c.key, c.other); got != c.want {
			t.Errorf("%s %.40s: %q, want %q", c.place.name, c.key, got, c.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"flag", "flags", 1}, {"inejct", "inject", 2}, {"kitten", "sitting", 3}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
