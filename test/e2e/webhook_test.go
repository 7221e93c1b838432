package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/test/suite"
)

const (
	configurationName = "zz-podinit"
)

// creator creates pods in one labelled namespace and counts those that were not wrapped. One that
// is refused ends the test.
type creator struct {
	t                  *testing.T
	namespace          string
	created, unwrapped int
}

// wrapped creates one more pod and tells whether it was wrapped.
func (c *creator) wrapped() bool {
	c.t.Helper()
	pod := shellPod(fmt.Sprintf("pod-%d", c.created), "true")
	// Creation is what counts here; that many pods need not run.
	pod.Spec.NodeSelector = map[string]string{"podinit.dev/e2e": "nowhere"}
	pod = create(c.t, c.namespace, pod)
	c.created++
	if strings.HasPrefix(pod.Spec.Containers[0].Command[0], "/podinit/") {
		return true
	}
	c.unwrapped++
	return false
}

// steady creates pods until many in a row are wrapped: both replicas must serve, and the apiserver
// picks one at random.
func (c *creator) steady() {
	c.t.Helper()
	inARow := 0
	suite.Eventually(c.t, "the webhook to wrap every pod", func(context.Context) (bool, error) {
		if inARow++; !c.wrapped() {
			inARow = 0
		}
		return inARow == 20, nil
	})
}

// TestWebhookAway deletes all of the webhook's pods at once. Pods are created all the time, none is
// refused, and when the webhook is back by itself they are wrapped again.
func TestWebhookAway(t *testing.T) {
	c := &creator{t: t, namespace: namespace(t, optedIn())}
	c.steady()
	now := int64(0)
	err := client.CoreV1().Pods(system).DeleteCollection(t.Context(),
		metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: suite.WebhookSelector})
	if err != nil {
		t.Fatal(err)
	}
	c.steady()
	t.Logf("%d pods created while the webhook was killed and came back: none refused, %d not wrapped", c.created, c.unwrapped)
}

// TestCertificateRenewed takes the certificate away. The webhook makes a new authority and a new
// certificate by itself; the apiserver trusts it, and no pod is refused or unwrapped meanwhile.
func TestCertificateRenewed(t *testing.T) {
	c := &creator{t: t, namespace: namespace(t, optedIn())}
	c.steady()
	created, unwrapped := c.created, c.unwrapped
	before := caBundles(t)
	_, err := client.CoreV1().Secrets(system).Patch(t.Context(), "podinit-webhook-certificate", types.MergePatchType,
		[]byte(`{"data":null}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "a new authority in the webhook configuration", func(context.Context) (bool, error) {
		c.wrapped()
		return caBundles(t) != before, nil
	})
	c.steady()
	if c.unwrapped > unwrapped {
		t.Errorf("%d of %d pods created while the certificate was renewed are not wrapped", c.unwrapped-unwrapped, c.created-created)
	}
}

func caBundles(t *testing.T) (bundles string) {
	t.Helper()
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), configurationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range configuration.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 {
			t.Errorf("webhook %s has no caBundle", w.Name)
		}
		bundles += string(w.ClientConfig.CABundle)
	}
	return bundles
}

// post sends a body to the webhook itself, past the apiserver's own checks, and returns what it answers.
func post(t *testing.T, body []byte) ([]byte, int) {
	t.Helper()
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	url := config.Host + "/api/v1/namespaces/" + system + "/services/https:podinit-webhook:443/proxy/mutate"
	response, err := httpClient.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text, response.StatusCode
}

// TestBadRequests sends what no apiserver sends. Each gets a clear answer, and the server lives.
func TestBadRequests(t *testing.T) {
	review := func(kind string, object string) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1",
			"kind":{"group":"","version":"v1","kind":%q},"resource":{"group":"","version":"v1","resource":"pods"},
			"namespace":"default","operation":"CREATE","object":%s}}`, kind, object)
	}
	pod, err := json.Marshal(shellPod("p", "sleep", "1"))
	if err != nil {
		t.Fatal(err)
	}
	valid := review("Pod", string(pod))
	restarts := webhookRestarts(t)
	for _, tt := range []struct {
		name    string
		body    []byte
		code    int
		patched bool
	}{
		{"valid", valid, 200, true},
		{"garbage", []byte("\x00\xff garbage"), 400, false},
		{"empty", nil, 400, false},
		{"truncated", valid[:len(valid)/2], 400, false},
		{"no review", pod, 400, false},
		{"no pod", review("ConfigMap", `{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}`), 200, false},
		{"no object", review("Pod", "null"), 200, false},
		{"spec of another type", review("Pod", `{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":[1]}`), 200, false},
		{"10 MiB", []byte(strings.Repeat(" ", 10<<20) + string(valid)), 413, false},
		{"valid after all that", valid, 200, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, code := post(t, tt.body)
			if code != tt.code {
				t.Fatalf("code %d, want %d: %s", code, tt.code, text)
			}
			if code != 200 {
				if t.Logf("%s", text); !strings.Contains(string(text), "AdmissionReview") {
					t.Error("the answer does not say what was expected")
				}
				return
			}
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if answer.Response == nil || !answer.Response.Allowed || answer.Response.UID != "u1" {
				t.Errorf("not an answer that allows: %s", text)
			}
			if patched := len(answer.Response.Patch) > 0; patched != tt.patched {
				t.Errorf("patched: %v, want %v: %s", patched, tt.patched, text)
			}
		})
	}
	if now := webhookRestarts(t); now != restarts {
		t.Errorf("containers of the webhook restarted: %d times, before %d", now, restarts)
	}
}

func webhookRestarts(t *testing.T) (n int32) {
	t.Helper()
	pods, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: suite.WebhookSelector})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			n += c.RestartCount
		}
	}
	return n
}

// TestDeployment looks at what config/ made, as a platform team would.
func TestDeployment(t *testing.T) {
	pods, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: suite.WebhookSelector})
	if err != nil {
		t.Fatal(err)
	}
	running := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
			running++
		}
	}
	if running != 2 {
		t.Errorf("%d replicas run, want 2", running)
	}
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), system, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if level := ns.Labels["pod-security.kubernetes.io/enforce"]; level != "restricted" {
		t.Errorf("Pod Security of %s is %q, want restricted", system, level)
	}
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), configurationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range configuration.Webhooks {
		timeout, reinvocation := int32(5), admissionregistrationv1.IfNeededReinvocationPolicy
		if strings.HasPrefix(w.Name, "again.") {
			timeout, reinvocation = 3, admissionregistrationv1.NeverReinvocationPolicy
		}
		if *w.FailurePolicy != "Ignore" || *w.TimeoutSeconds != timeout || *w.ReinvocationPolicy != reinvocation || *w.SideEffects != "None" {
			t.Errorf("webhook %s: failurePolicy %s, timeoutSeconds %d, reinvocationPolicy %s, sideEffects %s",
				w.Name, *w.FailurePolicy, *w.TimeoutSeconds, *w.ReinvocationPolicy, *w.SideEffects)
		}
	}
}
