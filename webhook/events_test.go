package webhook_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/webhook"
)

// recorded is what a Recorder got.
type recorded struct {
	About   corev1.ObjectReference
	Reasons []v1alpha1.Reason
}

type recorder struct{ all []recorded }

func (r *recorder) Record(about corev1.ObjectReference, problems []inject.Problem) {
	each := recorded{About: about}
	for _, p := range problems {
		each.Reasons = append(each.Reasons, p.Reason)
	}
	r.all = append(r.all, each)
}

// What a Pod's author can correct is recorded about the Pod's controller, or about a Pod that has a name.
func TestEvents(t *testing.T) {
	const spec = `"spec":{"hostPID":true,"containers":[{"name":"app","image":"r/app:1","command":["app"]}]}}`
	hostPID := []v1alpha1.Reason{v1alpha1.ReasonHostPID}
	long := strings.Repeat("x", 254)
	itself := []recorded{{About: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "team-a", Name: "app"}, Reasons: hostPID}}
	owned := func(apiVersion, kind, name, uid string) string {
		return fmt.Sprintf(`{"metadata":{"name":"app","ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true}]},`, apiVersion, kind, name, uid) + spec
	}
	for name, tt := range map[string]struct {
		pod       string
		namespace string // team-a where it is empty
		dryRun    bool
		reject    bool
		want      []recorded
	}{
		"nothing is wrong":            {pod: pod},
		"a pod that is to get a name": {pod: `{"metadata":{"generateName":"app-"},` + spec},
		"a pod with a name":           {pod: `{"metadata":{"name":"app"},` + spec, want: itself},
		"a name that no pod can have": {pod: `{"metadata":{"name":"` + long + `"},` + spec},
		"an owner": {
			pod: `{"metadata":{"generateName":"web-","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"other","uid":"1"},
				{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"2","controller":true}]},` + spec,
			want: []recorded{{About: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Namespace: "team-a", Name: "web", UID: "2"}, Reasons: hostPID}},
		},
		"an owner with a long version": {pod: owned(long, "ReplicaSet", "web", "2"), want: itself},
		"an owner with a long kind":    {pod: owned("apps/v1", long, "web", "2"), want: itself},
		"an owner with a long name":    {pod: owned("apps/v1", "ReplicaSet", long, "2"), want: itself},
		"an owner with a long uid":     {pod: owned("apps/v1", "ReplicaSet", "web", long), want: itself},
		"a long namespace":             {pod: `{"metadata":{"name":"app"},` + spec, namespace: long},

		"a dry run":  {pod: `{"metadata":{"name":"app"},` + spec, dryRun: true},
		"a refusal":  {pod: `{"metadata":{"name":"app"},` + spec, reject: true},
		"an opt-out": {pod: `{"metadata":{"name":"app","labels":{"podinit.dev/inject":"disabled"}},` + spec},
	} {
		t.Run(name, func(t *testing.T) {
			mutator := injector
			if tt.reject {
				mutator = withProfile(t, v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
			}
			got := &recorder{}
			server := httptest.NewTLSServer(&webhook.Handler{Mutator: mutator, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Events: got, Log: testr.New(t)})
			defer server.Close()
			post(t, server, "", reviewOf(tt.pod, func(request map[string]any) {
				request["dryRun"] = tt.dryRun
				if tt.namespace != "" {
					request["namespace"] = tt.namespace
				}
			}))
			server.Close() // when the handler is done
			if diff := cmp.Diff(tt.want, got.all); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
