package brokeninstalls

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/test/suite"
)

// suspendTime is how long suspending podinit may take until no replica wraps.
const suspendTime = 5 * time.Second

// TestSuspend suspends podinit as docs/operating.md says. It holds within seconds and through another deployment, is shown,
// and ends with the ConfigMap.
func TestSuspend(t *testing.T) {
	healthy(t)
	kubectl(t, "-n", system, "create", "configmap", "podinit-suspend", "--from-literal=reason=INC-42")
	t.Cleanup(func() { kubectl(t, "-n", system, "delete", "--ignore-not-found", "configmap", "podinit-suspend") })
	within(t, `"reason":"suspended"`)

	install(t)
	within(t, `"reason":"suspended"`)
	report, code := look(t)
	found := problems(report)
	if code != exit.OK || len(found) != 1 || !strings.Contains(found["suspended"], "INC-42") {
		t.Errorf("podinit check ends with %d and finds %q", code, found)
	}
	if out, errOut, code := suite.Podinit("status", "-A"); code != exit.OK || !strings.HasPrefix(out, "podinit is suspended by ConfigMap podinit-suspend in namespace "+system) {
		t.Errorf("podinit status ends with %d and says\n%s%s", code, out, errOut)
	}

	kubectl(t, "-n", system, "delete", "configmap", "podinit-suspend")
	within(t, `"action":"wrapped"`)
	healthy(t)
}

// within waits until the status of several pods in a row, of more than one replica by chance, has a text.
func within(t *testing.T, text string) {
	t.Helper()
	began, last := time.Now(), ""
	for inARow := 0; inARow < 8; {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "suspended-"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1", Command: []string{"app"}}}},
		}
		made, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		inARow++
		if last = made.Annotations["podinit.dev/status"]; !strings.Contains(last, text) {
			inARow = 0
		}
		if time.Since(began) > suspendTime {
			t.Fatalf("after %s a pod's status is %q, without %s", suspendTime, last, text)
		}
	}
}
