// Package brokeninstalls shows that "podinit check" finds what is wrong with an installation: it breaks the one that
// 'make cluster-deploy' has made on the cluster of package cluster, in one way after the other, and runs the command.
// 'make test-check' does all of that.
package brokeninstalls

import (
	"context"
	"encoding/json"
	"flag"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/internal/cli/check"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

const (
	system     = "podinit-system"
	deployment = "podinit-webhook"
	keeper     = "podinit-certificates"
	secret     = "podinit-webhook-certificate"

	// patience bounds every wait; a test that passes never waits that long.
	patience = time.Minute
)

var (
	running *cluster.Cluster
	client  *kubernetes.Clientset
	// namespace has opted in.
	namespace string
	// deployed is the folder that "make deploy" has applied.
	deployed string
)

func TestMain(m *testing.M) {
	flag.StringVar(&deployed, "deployed", "../../bin/deploy", "`folder` that was deployed from")
	suite.Main(m, "test-check", run)
}

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	var err error
	if deployed, err = filepath.Abs(deployed); err != nil {
		return 0, err
	}
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	made, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "check-", Labels: map[string]string{"podinit.dev/inject": "enabled"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	namespace = made.Name
	defer client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	return m.Run(), nil
}

// look is what podinit check finds.
func look(t *testing.T, args ...string) (check.Report, int) {
	t.Helper()
	out, errOut, code := suite.Podinit(append([]string{"check", "-n", namespace, "-o", "json"}, args...)...)
	var report check.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("exit code %d, output %q, errors %q: %v", code, out, errOut, err)
	}
	if want := report.Failed > 0; want != (code == exit.Found) || !want && code != exit.OK {
		t.Errorf("exit code %d with %d failures", code, report.Failed)
	}
	return report, code
}

// problems are what failed or is warned of, by check.
func problems(report check.Report) map[string]string {
	found := map[string]string{}
	for _, r := range report.Results {
		for _, p := range r.Problems {
			if p.Status == check.Failed || p.Status == check.Warning {
				found[r.Name] += p.Found + "\n"
			}
		}
	}
	return found
}

// healthy waits with podinit check itself until nothing is wrong.
func healthy(t *testing.T) {
	t.Helper()
	report, code := look(t, "--wait", patience.String())
	if found := problems(report); code != exit.OK || len(found) > 0 {
		t.Fatalf("exit code %d, found %q", code, found)
	}
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := running.RunKubectl(context.Background(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// install is what "make deploy" does.
func install(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", deployed)
}

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 500*time.Millisecond, patience, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func patch(t *testing.T, kind, name, patchType, text string) {
	t.Helper()
	kubectl(t, "-n", system, "patch", kind, name, "--type="+patchType, "-p", text)
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
