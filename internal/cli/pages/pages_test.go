package pages_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/cli/pages"
)

func TestEach(t *testing.T) {
	next := map[string]string{"": "b", "b": "c", "c": ""}
	var asked []string
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Limit != pages.Size {
			t.Errorf("asked for %d at once", options.Limit)
		}
		asked = append(asked, options.Continue)
		return &metav1.ListMeta{Continue: next[options.Continue]}, nil
	})
	if diff := cmp.Diff([]string{"", "b", "c"}, asked); err != nil || diff != "" {
		t.Errorf("%v; pages (-want +got):\n%s", err, diff)
	}
	gone := errors.New("gone")
	if err := pages.Each(func(metav1.ListOptions) (metav1.ListInterface, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
