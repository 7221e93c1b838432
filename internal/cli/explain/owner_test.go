package explain

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestOwner(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) metav1.Time { return metav1.Time{Time: now.Add(-d)} }
	controller := true
	acme := metav1.OwnerReference{APIVersion: "acme.example/v1", Kind: "Database", Name: "main", Controller: &controller}
	set := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "main", Controller: &controller}
	for name, c := range map[string]struct {
		owners   []metav1.OwnerReference
		created  metav1.Time
		deleted  *metav1.Time
		hasInit  bool
		compares v1alpha1.Comparison
		want     string // the owner, and what its note begins with; "" if there is none
	}{
		"none":             {},
		"of Kubernetes":    {owners: []metav1.OwnerReference{set}, created: ago(time.Hour), hasInit: true, want: "StatefulSet/main (apps) "},
		"long wrapped":     {owners: []metav1.OwnerReference{acme}, created: ago(3 * time.Hour), hasInit: true, want: "Database/main (acme.example) It has left this wrapped pod as it is for 3h: the owner does not compare"},
		"just wrapped":     {owners: []metav1.OwnerReference{acme}, created: ago(20 * time.Second), hasInit: true, want: "Database/main (acme.example) It has left this wrapped pod as it is for 20s. Look again in ten minutes"},
		"deleted at once":  {owners: []metav1.OwnerReference{acme}, created: ago(9 * time.Second), deleted: &[]metav1.Time{ago(7 * time.Second)}[0], hasInit: true, want: "Database/main (acme.example) The pod is wrapped and was deleted 2s after it was made."},
		"not wrapped":      {owners: []metav1.OwnerReference{acme}, created: ago(time.Hour), want: "Database/main (acme.example) If it compares"},
		"in a file":        {owners: []metav1.OwnerReference{acme}, hasInit: true, want: "Database/main (acme.example) If it compares"},
		"the controller":   {owners: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n"}, acme}, want: "Database/main (acme.example) If it compares"},
		"no controller":    {owners: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n"}}, want: "Node/n "},
		"compares pods":    {owners: []metav1.OwnerReference{acme}, compares: v1alpha1.ComparesPod, want: "Database/main (acme.example) The profile's exclude.owners says that it, or its owner, compares live pods"},
		"compares, by way": {owners: []metav1.OwnerReference{set}, compares: v1alpha1.ComparesImage, want: "StatefulSet/main (apps) The profile's exclude.owners says that it, or its owner, compares the images"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: c.owners, CreationTimestamp: c.created, DeletionTimestamp: c.deleted}}
			got := ""
			if o := ownerOf(pod, c.compares, c.hasInit, now); o != nil {
				got = o.String() + " " + o.Note
				if strings.Contains(o.Note, "exclude.owners of the profile") != strings.Contains(o.Note, "{group: acme.example, kind: Database}") {
					t.Errorf("the note does not say what to write: %s", o.Note)
				}
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
