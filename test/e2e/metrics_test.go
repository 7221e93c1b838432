package e2e

import (
	"bytes"
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/podinit/podinit/test/observe"
	"github.com/podinit/podinit/test/suite"
)

// TestMetricsForAlerts holds what the alerts and the dashboard ask for against what the deployed webhook and the real
// apiserver tell, after the apiserver has failed to reach webhooks that are named as ours are.
func TestMetricsForAlerts(t *testing.T) {
	unwrapped, blocked := namespace(t, nil), namespace(t, nil)
	unreachable(t, unwrapped, blocked)
	create(t, namespace(t, optedIn()), shellPod("wrapped", "true"))
	create(t, unwrapped, shellPod("unwrapped", "true"))
	if _, err := client.CoreV1().Pods(blocked).Create(t.Context(), shellPod("blocked", "true"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("with failurePolicy Fail the pod is created: %v", err)
	}

	pods, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: suite.WebhookSelector})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods of the webhook, error %v", len(pods.Items), err)
	}
	var samples model.Vector
	for _, pod := range pods.Items {
		samples = append(samples, scrape(t, "/api/v1/namespaces/"+system+"/pods/"+pod.Name+":8080/proxy/metrics")...)
	}
	samples = append(samples, scrape(t, "/metrics")...)

	expressions, err := observe.Expressions(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range expressions {
		for _, s := range e.Selectors {
			if s.Metric == "up" || strings.HasPrefix(s.Metric, "kube_pod_") || strings.HasPrefix(s.Metric, "kube_daemonset_") {
				continue // of Prometheus and kube-state-metrics, which do not run here
			}
			if strings.HasPrefix(s.Metric, "podinit_node_") {
				continue // nor does node mode; package observe holds its names against the plugin's own
			}
			if !s.Finds(samples) {
				t.Errorf("%s: there is no %s with %v", e.Where, s.Metric, s.Matchers)
			}
		}
	}
}

// unreachable has the apiserver call two webhooks that nobody answers for, one in each namespace: what it does without an
// answer is to admit pods in the first, and to refuse them in the second.
func unreachable(t *testing.T, ignore, fail string) {
	t.Helper()
	nowhere, none, second := "https://127.0.0.1:1/", admissionregistrationv1.SideEffectClassNone, int32(1)
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "e2e-unreachable"}}
	for policy, namespace := range map[admissionregistrationv1.FailurePolicyType]string{admissionregistrationv1.Ignore: ignore, admissionregistrationv1.Fail: fail} {
		configuration.Webhooks = append(configuration.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name:         "again." + strings.ToLower(string(policy)) + ".test.podinit.dev",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &nowhere},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			FailurePolicy:     &policy, SideEffects: &none, TimeoutSeconds: &second, AdmissionReviewVersions: []string{"v1"},
		})
	}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configurations.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.Background(), configuration.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// The apiserver watches configurations, and needs a moment.
	suite.Eventually(t, "the apiserver to call the webhooks", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(fail).Create(ctx, shellPod("probe", "true"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "failed calling webhook"), nil
	})
}

// scrape reads metrics as Prometheus does, through the apiserver.
func scrape(t *testing.T, path string) model.Vector {
	t.Helper()
	text, err := client.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("scraping %s: %v", path, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("scraping %s: %v", path, err)
	}
	var all []*dto.MetricFamily
	for _, f := range families {
		all = append(all, f)
	}
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Now()}, all...)
	if err != nil {
		t.Fatalf("scraping %s: %v", path, err)
	}
	return samples
}
