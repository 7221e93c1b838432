package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// TestConfiguration asks for every combination of labels and annotations which of the entries of the
// MutatingWebhookConfiguration would send the pod. It is one and its second chance, the latter not if the pod has been
// answered for; and none exactly where the core would leave the pod alone for good: what decides in the apiserver and
// what decides here agree.
func TestConfiguration(t *testing.T) {
	in, err := os.ReadFile("../config/webhook/mutating_webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(in, &configuration); err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for _, w := range configuration.Webhooks {
		entries = append(entries, newEntry(t, w))
	}

	values := []string{"", "enabled", "disabled", "yes"}
	sent := map[string]int{}
	for _, namespace := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "podinit-system"} {
		for _, namespaceLabel := range values {
			for _, label := range values {
				for _, annotation := range values {
					for _, other := range []string{"", "mirror", "windows", "linux", "annotated", "answered"} {
						metadata, spec := map[string]any{"name": "p"}, map[string]any{"containers": []any{map[string]any{"name": "app"}}}
						if label != "" {
							metadata["labels"] = map[string]any{v1alpha1.Inject: label}
						}
						annotations := map[string]any{}
						if annotation != "" {
							annotations[v1alpha1.Inject] = annotation
						}
						switch other {
						case "mirror":
							annotations["kubernetes.io/config.mirror"] = "x"
						case "annotated":
							annotations["a"] = "b"
						case "answered":
							annotations[v1alpha1.StatusAnnotation] = "{}"
						case "windows", "linux":
							spec["os"] = map[string]any{"name": other}
						}
						if len(annotations) > 0 {
							metadata["annotations"] = annotations
						}
						pod := map[string]any{"metadata": metadata, "spec": spec}
						name := fmt.Sprintf("namespace %s labelled %q, pod labelled %q, annotated %q, %s", namespace, namespaceLabel, label, annotation, other)

						var by []string
						for _, e := range entries {
							if e.sends(t, namespace, namespaceLabel, label, pod) {
								by = append(by, e.name)
								sent[e.name]++
							}
						}
						reason := reasonOf(t, namespace, namespaceLabel, pod)
						ok := false
						switch {
						case reason != "":
							ok = len(by) == 0
						case other == "answered":
							ok = len(by) == 1 && !strings.HasPrefix(by[0], "again.")
						default:
							ok = len(by) == 2 && by[1] == "again."+by[0]
						}
						if !ok {
							t.Errorf("%s: sent by %v; the core says %q", name, by, reason)
						}
					}
				}
			}
		}
	}
	// One namespace of five; label and annotation that do not opt out (3 of 4 each), four kinds of other pods, one of them
	// answered for. The second entry wants one of them enabled (5 of those 9), in namespaces that say neither (2 of 4).
	if diff := cmp.Diff(map[string]int{
		"namespace.podinit.dev": 9 * 4, "again.namespace.podinit.dev": 9 * 3, "pod.podinit.dev": 5 * 4 * 2, "again.pod.podinit.dev": 5 * 3 * 2,
	}, sent); diff != "" {
		t.Errorf("pods sent (-want +got):\n%s", diff)
	}
}

// reasonOf is why the core leaves a pod alone. A pod that it does not has a status afterwards, or it would be asked about
// twice.
func reasonOf(t *testing.T, namespace, namespaceLabel string, object map[string]any) v1alpha1.Reason {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := inject.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	config := inject.Config{ExcludedNamespaces: []string{"kube-system", "kube-public", "kube-node-lease", "podinit-system"}}
	plan := inject.NewPlan(config, inject.Setting{Namespace: namespace, NamespaceInject: namespaceLabel}, pod)
	patch, err := plan.Patch()
	if err != nil {
		t.Fatal(err)
	}
	status := strings.ReplaceAll(v1alpha1.StatusAnnotation, "/", "~1")
	if plan.Skip.Reason == "" && !bytes.Contains(patch, []byte(status)) && !bytes.Contains(patch, []byte(`"`+v1alpha1.StatusAnnotation+`":`)) {
		t.Errorf("the answer for %s writes no status: %s", raw, patch)
	}
	return plan.Skip.Reason
}

// entry is one webhook of the configuration, evaluated as the apiserver does.
type entry struct {
	name              string
	namespace, object labels.Selector
	conditions        []cel.Program
}

func newEntry(t *testing.T, w admissionregistrationv1.MutatingWebhook) entry {
	t.Helper()
	e := entry{name: w.Name}
	var err error
	if e.namespace, err = metav1.LabelSelectorAsSelector(w.NamespaceSelector); err != nil {
		t.Fatal(err)
	}
	if e.object, err = metav1.LabelSelectorAsSelector(w.ObjectSelector); err != nil {
		t.Fatal(err)
	}
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range w.MatchConditions {
		ast, issues := env.Compile(c.Expression)
		if issues.Err() != nil {
			t.Fatalf("%s, condition %s: %v", w.Name, c.Name, issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		e.conditions = append(e.conditions, program)
	}
	return e
}

// sends says whether the apiserver would send a pod. An error in a condition fails the test: it would depend on the
// failurePolicy.
func (e entry) sends(t *testing.T, namespace, namespaceLabel, label string, pod map[string]any) bool {
	t.Helper()
	set := func(value string) labels.Set {
		if value == "" {
			return labels.Set{}
		}
		return labels.Set{v1alpha1.Inject: value}
	}
	namespaceLabels := set(namespaceLabel)
	namespaceLabels["kubernetes.io/metadata.name"] = namespace
	if !e.namespace.Matches(namespaceLabels) || !e.object.Matches(set(label)) {
		return false
	}
	for _, c := range e.conditions {
		value, _, err := c.Eval(map[string]any{"object": pod})
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if value.Value() != true {
			return false
		}
	}
	return true
}
