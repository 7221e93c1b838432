package clusterstate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const limitRangesJSON = `
	{"metadata":{"name":"a","namespace":"bounded","labels":{"a":"b"}},"spec":{"limits":[
		{"type":"Container","min":{"cpu":"100m","memory":"16Mi"},"max":{"cpu":"4"},"default":{"cpu":"1"}},
		{"type":"Pod","min":{"cpu":"2"}},{"type":"PersistentVolumeClaim","min":{"storage":"1Gi"}}]}},
	{"metadata":{"name":"b","namespace":"bounded"},"spec":{"limits":[{"type":"Container","min":{"cpu":"50m","memory":"64Mi"}}]}},
	{"metadata":{"name":"huge","namespace":"bounded"},"spec":{"limits":[{"type":"Container","min":{"cpu":"1111111111111111111e100000","memory":"1e2000000000"}}]}},
	{"metadata":{"name":"c","namespace":"other"},"spec":{"limits":[{"type":"Container","max":{"cpu":"4"}}]}}`

func TestLeast(t *testing.T) {
	w := start(t, &apiserver{items: map[string]string{limitRangesPath: limitRangesJSON}})
	eventually(t, "LimitRanges are listed", func() bool { s, _ := setting(t, w, "bounded", ""); return s.LeastResources != nil })
	for namespace, want := range map[string]map[string]string{
		"bounded": {"cpu": "100m", "memory": "64Mi"}, "other": {}, "none": {},
	} {
		got := map[string]string{}
		s, _ := setting(t, w, namespace, "")
		for name, q := range s.LeastResources {
			got[name] = q.String()
		}
		if diff := cmp.Diff(want, got); diff != "" || s.LeastResources == nil {
			t.Errorf("%s (-want +got):\n%s", namespace, diff)
		}
	}
}

// Where LimitRanges may not be listed, nothing is known.
func TestLeastForbidden(t *testing.T) {
	w := start(t, &apiserver{forbidden: forbidden(limitRangesPath), items: map[string]string{limitRangesPath: limitRangesJSON}})
	eventually(t, "the others are listed", w.nodes.watched.synced)
	if s, _ := setting(t, w, "bounded", ""); s.LeastResources != nil {
		t.Errorf("%v, want nil", s.LeastResources)
	}
}
