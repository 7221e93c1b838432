package e2e

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/suite"
)

// TestOwnerComparesPods runs an operator that compares its live pod with what it made and makes a changed one again, as
// the Jenkins operator does. Its pod is left as it is where the profile names the owner: by default for a Jenkins, for
// another kind once a profile does. Without that it would be made again and again, which shows that this operator compares.
func TestOwnerComparesPods(t *testing.T) {
	customResource(t, "jenkins.io", "Jenkins")
	customResource(t, "acme.example", "Cache")

	t.Run("by default", func(t *testing.T) {
		o := startOperator(t, namespace(t, optedIn()), "jenkins.io", "Jenkins")
		o.leftAlone(t)
	})
	t.Run("not named", func(t *testing.T) {
		o := startOperator(t, namespace(t, optedIn()), "acme.example", "Cache")
		suite.Eventually(t, "the pod to be made again", func(context.Context) (bool, error) { return o.made.Load() > 3, nil })
	})
	t.Run("named by a profile", func(t *testing.T) {
		ns := withProfile(t, v1alpha1.InitProfileSpec{Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Group: "acme.example", Kind: "Cache"}}}})
		owned := shellPod("probe", "true")
		owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "acme.example/v1", Kind: "Cache", Name: "probe", UID: "probe"}}
		admitted(t, ns, owned, "a pod that is left alone", func(p *corev1.Pod) bool { return !isWrapped(p) })
		o := startOperator(t, ns, "acme.example", "Cache")
		o.leftAlone(t)
	})
}

// operator makes one pod for a custom resource.
type operator struct {
	namespace string
	want      *corev1.Pod
	// made is how often it has made the pod.
	made atomic.Int32
}

// startOperator creates a custom resource and reconciles it until the test ends.
func startOperator(t *testing.T, ns, group, kind string) *operator {
	t.Helper()
	owner := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": kind, "metadata": map[string]any{"name": "example", "namespace": ns},
	}}
	c, err := ctrlclient.New(config, ctrlclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "kind "+kind, func(ctx context.Context) (bool, error) { return c.Create(ctx, owner) == nil, nil })
	o := &operator{namespace: ns, want: shellPod("made", "sleep", "infinity")}
	no := false
	o.want.Spec.AutomountServiceAccountToken = &no // or the apiserver would add a volume
	o.want.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GroupVersionKind())}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			o.reconcile(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return o
}

// reconcile makes the pod if there is none, and deletes one that is not as it was made.
func (o *operator) reconcile(ctx context.Context) {
	pods := client.CoreV1().Pods(o.namespace)
	live, err := pods.Get(ctx, o.want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if _, err := pods.Create(ctx, o.want, metav1.CreateOptions{}); err == nil {
			o.made.Add(1)
		}
	case err == nil && !o.asMade(live):
		now := int64(0)
		_ = pods.Delete(ctx, live.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}) // the next round tries again
	}
}

func (o *operator) asMade(live *corev1.Pod) bool {
	return len(live.Spec.InitContainers) == 0 && len(live.Spec.Volumes) == 0 &&
		slices.Equal(live.Spec.Containers[0].Command, o.want.Spec.Containers[0].Command) && live.Spec.Containers[0].Image == o.want.Spec.Containers[0].Image
}

// leftAlone waits until the operator's pod runs, and checks that it is the first one and as it was made.
func (o *operator) leftAlone(t *testing.T) {
	t.Helper()
	pods := client.CoreV1().Pods(o.namespace)
	suite.Eventually(t, "the operator's pod to run", func(ctx context.Context) (bool, error) {
		pod, err := pods.Get(ctx, o.want.Name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, nil
	})
	time.Sleep(2 * time.Second) // ten rounds of the operator
	pod, err := pods.Get(t.Context(), o.want.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := o.made.Load(); n != 1 || !o.asMade(pod) {
		t.Errorf("the pod was made %d times, and is %+v", n, pod.Spec)
	}
	if got := suite.Status(t, pod).Reason; got != v1alpha1.ReasonOwnerComparesPods {
		t.Errorf("the status gives reason %q", got)
	}
	out, errOut, code := podinit(t, "", "explain", "pod/"+pod.Name, "-n", o.namespace)
	if code != 0 || !strings.Contains(out, "Its owner is "+pod.OwnerReferences[0].Kind+"/example") {
		t.Errorf("podinit explain: exit code %d\n%s%s", code, out, errOut)
	}
}

// customResource defines a namespaced kind for one test.
func customResource(t *testing.T, group, kind string) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := ctrlclient.New(config, ctrlclient.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	plural, anything := strings.ToLower(kind)+"s", true
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, Plural: plural, Singular: strings.ToLower(kind)},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
			}},
		},
	}
	if err := c.Create(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := c.Delete(ctx, definition); err != nil {
			t.Error(err)
		}
	})
}
