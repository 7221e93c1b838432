package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/test/cluster"
)

// TestRBAC takes each verb of each resource away from the webhook in turn, starts it anew without a certificate, and has a
// pod looked up with a pull secret. Each time something breaks, and the webhook names what it may not do; with all of its
// rules nothing does. So there is no rule that is not needed.
func TestRBAC(t *testing.T) {
	how := installer(fromConfig{})
	how.uninstall(t)
	makeNamespaces(t)
	how.install(t, current(t))
	defer how.uninstall(t)
	scale(t, 1)
	// Newer apiservers send lists as the beginning of a watch, and older ones are asked for them by list. The webhook is
	// to have what both want.
	_, err := client.AppsV1().Deployments(system).Patch(t.Context(), deploymentName, types.StrategicMergePatchType, []byte(
		`{"spec":{"strategy":{"$patch":"replace","type":"Recreate"},"template":{"spec":{"terminationGracePeriodSeconds":1,"containers":[
		{"name":"webhook","env":[{"name":"KUBE_FEATURE_WatchListClient","value":"false"}]}]}}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	settled(t, 1)
	makePullSecret(t)

	if pod, complaints := exercise(t, func(pod *corev1.Pod, complaints string) bool { return ready(pod) }); strings.Contains(complaints, "forbidden") {
		t.Fatalf("with all of its rules pod %s complains: %s", pod.Name, complaints)
	}
	for _, r := range rules(t) {
		for i, rule := range r.get(t) {
			for _, verb := range rule.Verbs {
				t.Run(fmt.Sprintf("%s %s %s", r.name, rule.Resources[0], verb), func(t *testing.T) {
					r.without(t, i, verb)
					if rule.Resources[0] == "namespaces" && verb == "get" {
						r.without(t, i, "list") // it stands in for what has not been listed
					}
					want := fmt.Sprintf("cannot %s resource \\\"%s\\\"", verb, rule.Resources[0])
					if len(rule.ResourceNames) == 0 && rule.Resources[0] == "secrets" && verb == "get" {
						want = unusable // a pod's secret that cannot be read is no fault of the webhook's, and is counted
					}
					_, complaints := exercise(t, func(_ *corev1.Pod, complaints string) bool { return strings.Contains(complaints, want) })
					if !strings.Contains(complaints, want) {
						t.Errorf("nothing says %q: the rule is not needed, or its lack goes unnoticed. The webhook says:\n%s", want, complaints)
					}
				})
			}
		}
	}
}

// unusable is what exercise adds to the webhook's complaints if a pull secret could not be used.
const unusable = "podinit_unusable_credentials_total is more than 0"

// exercise starts the webhook anew without a certificate and creates a pod that is looked up, until enough has been seen
// or nothing new is to be expected. It returns the webhook's pod and what it complains of.
func exercise(t *testing.T, enough func(*corev1.Pod, string) bool) (pod *corev1.Pod, complaints string) {
	t.Helper()
	ctx, none := t.Context(), int64(0)
	if err := client.CoreV1().Pods(system).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{LabelSelector: webhookSelector}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(system).Patch(ctx, secretName, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wanting := newPod()
	wanting.Spec.Containers[0].Command = nil
	wanting.Spec.Containers[0].Image = cluster.Registry + "/operate/absent:v1"
	wanting.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	for began := time.Now(); time.Since(began) < 40*time.Second; time.Sleep(200 * time.Millisecond) {
		pods, err := replicas(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pods = slices.DeleteFunc(pods, func(pod corev1.Pod) bool {
			return pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning
		})
		if len(pods) != 1 {
			continue
		}
		pod = &pods[0]
		log, err := client.CoreV1().Pods(system).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			continue // it has just been started
		}
		complaints = ""
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "forbidden") {
				complaints += line
			}
		}
		if ready(pod) {
			attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
			_, err := client.CoreV1().Pods(optedInNamespace).Create(attempt, wanting, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if count, err := metric(ctx, pod, "podinit_unusable_credentials_total"); err == nil && count > 0 {
				complaints += unusable + "\n"
			}
		}
		if enough(pod, complaints) {
			break
		}
	}
	return pod, complaints
}

// makePullSecret makes the secret that the pod of exercise names.
func makePullSecret(t *testing.T) {
	t.Helper()
	_, err := client.CoreV1().Secrets(optedInNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull"},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + cluster.Registry + `":{"username":"u","password":"p"}}}`)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// role is a Role or ClusterRole of the webhook's.
type role struct {
	name   string
	read   func(context.Context) ([]rbacv1.PolicyRule, error)
	update func(context.Context, []rbacv1.PolicyRule) error
}

// rules are all the roles that the webhook's service account is bound to.
func rules(t *testing.T) (roles []role) {
	t.Helper()
	ours := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Kind == "ServiceAccount" && s.Namespace == system })
	}
	clusterBindings, err := client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range clusterBindings.Items {
		if !ours(b.Subjects) {
			continue
		}
		name, clusterRoles := b.RoleRef.Name, client.RbacV1().ClusterRoles()
		roles = append(roles, role{"ClusterRole " + name, func(ctx context.Context) ([]rbacv1.PolicyRule, error) {
			r, err := clusterRoles.Get(ctx, name, metav1.GetOptions{})
			return r.Rules, err
		}, func(ctx context.Context, rules []rbacv1.PolicyRule) error {
			r, err := clusterRoles.Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				r.Rules = rules
				_, err = clusterRoles.Update(ctx, r, metav1.UpdateOptions{})
			}
			return err
		}})
	}
	bindings, err := client.RbacV1().RoleBindings("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		if !ours(b.Subjects) {
			continue
		}
		name, namespaced := b.RoleRef.Name, client.RbacV1().Roles(b.Namespace)
		roles = append(roles, role{"Role " + name, func(ctx context.Context) ([]rbacv1.PolicyRule, error) {
			r, err := namespaced.Get(ctx, name, metav1.GetOptions{})
			return r.Rules, err
		}, func(ctx context.Context, rules []rbacv1.PolicyRule) error {
			r, err := namespaced.Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				r.Rules = rules
				_, err = namespaced.Update(ctx, r, metav1.UpdateOptions{})
			}
			return err
		}})
	}
	if len(roles) < 3 {
		t.Fatalf("the webhook is bound to %d roles, and should be to more", len(roles))
	}
	return roles
}

func (r role) get(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	rules, err := r.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// without takes a verb out of a rule until the test ends.
func (r role) without(t *testing.T, i int, verb string) {
	t.Helper()
	before := r.get(t)
	rules := r.get(t)
	if len(rules[i].Resources) != 1 {
		t.Fatalf("%s: a rule for %v at once hides which of them is not needed", r.name, rules[i].Resources)
	}
	rules[i].Verbs = slices.DeleteFunc(rules[i].Verbs, func(v string) bool { return v == verb })
	if len(rules[i].Verbs) == 0 {
		rules = slices.Delete(rules, i, i+1)
	}
	if err := r.update(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.update(context.Background(), before); err != nil {
			t.Error(err)
		}
	})
}
