package brokeninstalls

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/cli/exit"
)

// TestNoAlert looks at what the replicas count and log while podinit check runs: nothing that an alert goes by.
func TestNoAlert(t *testing.T) {
	healthy(t)
	before := complaints(t)
	if _, code := look(t); code != exit.OK {
		t.Fatalf("podinit check ends with %d", code)
	}
	for pod, after := range complaints(t) {
		if after != before[pod] {
			t.Errorf("%s before podinit check:\n%s\nafter:\n%s", pod, before[pod], after)
		}
	}
}

// complaints are, by replica, the requests with an outcome that deserves a look, and the errors in its log.
func complaints(t *testing.T) map[string]string {
	t.Helper()
	pods, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, pod := range pods.Items {
		metrics := kubectl(t, "get", "--raw", "/api/v1/namespaces/"+system+"/pods/"+pod.Name+":8080/proxy/metrics")
		log, err := client.CoreV1().Pods(system).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all[pod.Name] = ""
		for line := range strings.Lines(metrics + string(log)) {
			usual := strings.Contains(line, `outcome="patched"`) || strings.Contains(line, `outcome="unchanged"`) || strings.Contains(line, `outcome="refused"`)
			if strings.HasPrefix(line, "podinit_admission_requests_total{") && !usual || strings.Contains(line, `"level":"ERROR"`) {
				all[pod.Name] += line
			}
		}
	}
	return all
}
