package chart

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

// TestLifecycle is what a platform team goes through with each Helm: it takes over what kubectl has installed from
// config/, upgrades it with another CustomResourceDefinition and other values, rolls back and forth, uninstalls, and installs again, with pods
// being created meanwhile.
func TestLifecycle(t *testing.T) {
	l := open(t)
	for _, helm := range helms {
		t.Run(helm, func(t *testing.T) {
			r := release{live: l, helm: helm, chart: chart}
			l.empty(t)
			l.kubectl(t, "apply", "--server-side", "-k", kustomization(t, l.webhook, l.init, nil))
			l.kubectl(t, "-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=2m")
			namespace := l.namespace(t)
			load.MakeNamespaces(t, l.client)
			running := l.wraps(t, namespace)
			l.kubectl(t, "apply", "-f", filepath.Join(root, "config/samples/initprofiles/jvm.yaml"))

			if out, err := runHelm(t, helm, append([]string{"install", "podinit", chart, "--namespace", system}, l.values...)...); err == nil || !strings.Contains(out, "cannot be imported") {
				t.Fatalf("without --take-ownership: error %v: %s", err, out)
			}
			takeOver := []string{"--take-ownership"}
			if helm == "helm4" { // docs/install.md
				takeOver = append(takeOver, "--server-side=false")
			}
			l.during(t, "take-over", true, func() { r.install(t, takeOver...) })
			l.wraps(t, namespace)

			later := r
			later.chart = withAnotherColumn(t)
			l.during(t, "upgrade", true, func() {
				later.upgrade(t, "--set=metrics.port=9080,webhook.timeoutSeconds=7,webhook.failurePolicy=Fail,webhook.excludedNamespaces={default}")
			})
			if got := l.kubectl(t, "get", "initprofiles"); !strings.Contains(got, "COLUMN OF THE TEST") || !strings.Contains(got, "jvm") {
				t.Errorf("after the upgrade the CustomResourceDefinition is the one before, or profiles are lost:\n%s", got)
			}
			if got := l.kubectl(t, "get", "mutatingwebhookconfiguration", "zz-podinit", "-o", "jsonpath={.webhooks[*].timeoutSeconds}"); got != "7 3 7 3" {
				t.Errorf("timeouts after the upgrade: %s", got)
			}
			if got := l.kubectl(t, "-n", system, "get", "daemonset", "podinit-prepull", "-o", "jsonpath={.status.numberReady}"); got != "1" {
				t.Errorf("%s nodes hold the image", got)
			}
			l.wraps(t, namespace)

			for _, back := range []struct{ revision, timeouts string }{{"1", "5 3 5 3"}, {"2", "7 3 7 3"}} {
				l.during(t, "roll back to "+back.revision, true, func() { r.do(t, "rollback", "podinit", back.revision) })
				if got := l.kubectl(t, "get", "mutatingwebhookconfiguration", "zz-podinit", "-o", "jsonpath={.webhooks[*].timeoutSeconds}"); got != back.timeouts {
					t.Errorf("timeouts after rolling back to %s: %s, want %s", back.revision, got, back.timeouts)
				}
				l.wraps(t, namespace)
			}

			if helm == "helm4" { // one is enough: both make the same
				l.failsClosed(t, namespace)
			}
			l.during(t, "uninstall", false, func() {
				if helm == "helm3" { // docs/install.md
					l.kubectl(t, "delete", "mutatingwebhookconfiguration", "zz-podinit")
				}
				r.do(t, "uninstall", "podinit")
			})
			l.isGone(t, namespace)
			now, err := l.client.CoreV1().Pods(namespace).Get(t.Context(), running.Name, metav1.GetOptions{})
			if err != nil || !now.Status.ContainerStatuses[0].Ready || now.Status.ContainerStatuses[0].ContainerID != running.Status.ContainerStatuses[0].ContainerID {
				t.Errorf("the pod that was wrapped first does not run as it did: error %v, %+v", err, now.Status.ContainerStatuses)
			}

			notes := r.install(t)
			for _, want := range []string{"kubectl label namespace NAMESPACE podinit.dev/inject=enabled", "get pods -L podinit.dev/version", "helm uninstall podinit -n podinit-system"} {
				if !strings.Contains(notes, want) {
					t.Errorf("the notes do not say %q:\n%s", want, notes)
				}
			}
			l.wraps(t, namespace)
			if got := l.kubectl(t, "get", "initprofiles", "-o", "name"); !strings.Contains(got, "jvm") {
				t.Errorf("InitProfiles after the second installation: %q", got)
			}
		})
	}
}

// failsClosed takes the webhook away under failurePolicy Fail: pods of labelled namespaces are refused, and those of the
// system's, of podinit's own, and of excluded namespaces are created, whatever their labels say.
func (l *live) failsClosed(t *testing.T, namespace string) {
	t.Helper()
	l.kubectl(t, "-n", system, "scale", "deployment", "podinit-webhook", "--replicas=0")
	create := func(ctx context.Context, namespace string) error {
		p := pod()
		p.Labels = map[string]string{"podinit.dev/inject": "enabled"}
		_, err := l.client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	suite.Eventually(t, "pods to be refused", func(ctx context.Context) (bool, error) {
		err := create(ctx, namespace)
		return err != nil && strings.Contains(err.Error(), "podinit.dev"), nil
	})
	l.kubectl(t, "label", "namespace", "kube-system", "podinit.dev/inject=enabled")
	defer l.kubectl(t, "label", "namespace", "kube-system", "podinit.dev/inject-")
	for _, excluded := range []string{"kube-system", "default"} {
		if err := create(t.Context(), excluded); err != nil {
			t.Errorf("namespace %s: %v", excluded, err)
		}
	}
	// In its own namespace it is the webhook itself that has to be created.
	l.kubectl(t, "label", "namespace", system, "podinit.dev/inject=enabled")
	l.kubectl(t, "-n", system, "scale", "deployment", "podinit-webhook", "--replicas=2")
	l.kubectl(t, "-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=2m")
	l.wraps(t, namespace)
}

// isGone fails if something is left that stands in a pod's way, or if something is not that should be.
func (l *live) isGone(t *testing.T, namespace string) {
	t.Helper()
	if _, err := l.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "zz-podinit", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the webhook configuration: error %v, want none to be found", err)
	}
	if made, err := l.client.CoreV1().Pods(namespace).Create(t.Context(), pod(), metav1.CreateOptions{}); err != nil || load.Wrapped(made) {
		t.Errorf("a pod afterwards: error %v, wrapped: %v", err, load.Wrapped(made))
	}
	for _, arguments := range [][]string{
		{"get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/name=podinit", "-o", "name"},
		{"get", "deployments,daemonsets,services,secrets,serviceaccounts,roles,rolebindings,poddisruptionbudgets,resourcequotas,networkpolicies", "-n", system, "-l", "app.kubernetes.io/name=podinit", "-o", "name"},
	} {
		if left := l.kubectl(t, arguments...); left != "" {
			t.Errorf("left: %s", left)
		}
	}
	if got := l.kubectl(t, "get", "initprofiles", "-o", "name"); !strings.Contains(got, "jvm") {
		t.Errorf("InitProfiles afterwards: %q", got)
	}
}

// withAnotherColumn is the chart of a later version, whose CustomResourceDefinition has one more column.
func withAnotherColumn(t *testing.T) string {
	t.Helper()
	later := t.TempDir()
	if err := os.CopyFS(later, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(later, "files", "podinit.dev_initprofiles.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const columns = "additionalPrinterColumns:\n"
	changed := strings.Replace(string(text), columns, columns+"    - jsonPath: .metadata.name\n      name: Column of the test\n      type: string\n", 1)
	if changed == string(text) {
		t.Fatalf("%s has no columns", file)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return later
}
