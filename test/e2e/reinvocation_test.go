package e2e

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"

	"github.com/podinit/podinit/test/cluster"
)

// TestLateWebhook has another webhook, called after ours, put a container and an init container into
// the pod. Ours is called again: the container is wrapped too, and the copier is the first again.
func TestLateWebhook(t *testing.T) {
	ns := namespace(t, optedIn())
	lateWebhook(t, ns)
	pod := create(t, ns, shellPod("app", "bash", "-c", "while :; do sleep 0.2; done"))
	names := []string{}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		names = append(names, c.Name)
	}
	if got, want := strings.Join(names, " "), "podinit-copy late-init app late"; got != want {
		t.Errorf("containers are %q, want %q", got, want)
	}
	for _, c := range pod.Spec.Containers {
		if c.Command[0] != "/podinit/init" || strings.Count(strings.Join(c.Command, " "), "/podinit/init") != 1 {
			t.Errorf("container %s runs %q", c.Name, c.Command)
		}
	}
	started(t, pod)
	if ps := execute(t, pod, "ps", "-o", "args", "-p", "1"); !strings.Contains(ps, "/podinit/init") {
		t.Errorf("PID 1 is not the init:\n%s", ps)
	}
}

// lateWebhook serves, from this process, a webhook that the apiserver calls after ours for pods of one namespace.
func lateWebhook(t *testing.T, ns string) {
	t.Helper()
	certificate, bundle := selfSigned(t)
	listener, err := net.Listen("tcp", cluster.HostIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(addLate),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })

	url := "https://" + listener.Addr().String() + "/"
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	created, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		// The apiserver calls webhooks in the order of these names.
		ObjectMeta: metav1.ObjectMeta{Name: "zzz-late-" + ns},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "late.podinit.dev",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: &url, CABundle: bundle,
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			FailurePolicy:           &fail,
			SideEffects:             &none,
			AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Not the test's context, which is over by now.
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := configurations.Delete(ctx, created.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// The apiserver takes a moment to know of it.
	for began := time.Now(); ; {
		pod, err := client.CoreV1().Pods(ns).Create(t.Context(), shellPod("probe", "true"), dryRun)
		if err == nil && len(pod.Spec.Containers) == 2 {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("the apiserver does not call the late webhook: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// addLate answers a review with a container and an init container more.
func addLate(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	late := *pod.Spec.Containers[0].DeepCopy()
	late.Name, late.Command, late.VolumeMounts = "late", []string{"sleep", "infinity"}, nil
	first := *late.DeepCopy()
	first.Name, first.Command = "late-init", []string{"true"}
	patch := []map[string]any{{"op": "add", "path": "/spec/containers/-", "value": late}}
	if len(pod.Spec.InitContainers) == 0 {
		patch = append(patch, map[string]any{"op": "add", "path": "/spec/initContainers", "value": []corev1.Container{first}})
	} else {
		patch = append(patch, map[string]any{"op": "add", "path": "/spec/initContainers/0", "value": first})
	}
	text, err := json.Marshal(patch)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	kind := admissionv1.PatchTypeJSONPatch
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: text, PatchType: &kind}
	review.Request = nil
	json.NewEncoder(w).Encode(review)
}

func selfSigned(t *testing.T) (pair tls.Certificate, bundle []byte) {
	t.Helper()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(cluster.HostIP, []net.IP{net.ParseIP(cluster.HostIP)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair, certPEM
}

// TestDryRun asks for a pod and makes none: what comes back is wrapped, and nothing is stored.
func TestDryRun(t *testing.T) {
	ns := namespace(t, optedIn())
	pod, err := client.CoreV1().Pods(ns).Create(t.Context(), shellPod("dry", "true"), dryRun)
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.Containers[0].Command[0] != "/podinit/init" {
		t.Errorf("the command is %q", pod.Spec.Containers[0].Command)
	}
	list, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("%d pods after a dry run (%v)", len(list.Items), err)
	}
}
