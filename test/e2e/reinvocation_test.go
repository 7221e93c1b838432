package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
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
	"github.com/podinit/podinit/test/suite"
)

// TestLateWebhook has another webhook, called after ours, put a container and an init container into
// the pod. Ours is called again: the container is wrapped too, and the copier is the first again.
func TestLateWebhook(t *testing.T) {
	ns := namespace(t, optedIn())
	lateWebhook(t, ns, addLate, func(p *corev1.Pod) bool { return len(p.Spec.Containers) == 2 })
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

// TestLateProgram has another webhook, called after ours, put a program before every command and make the command its args,
// as Bank-Vaults' does with vault-env. Ours is called again: there is one init, and it is PID 1.
func TestLateProgram(t *testing.T) {
	ns := namespace(t, optedIn())
	lateWebhook(t, ns, putBefore, func(p *corev1.Pod) bool {
		return strings.Contains(strings.Join(p.Spec.Containers[0].Command, " "), "LATE=1")
	})
	pod := shellPod("app", "bash", "-c", "while :; do sleep 0.2; done")
	pod.Spec.Containers[0].Args = []string{"app", "$(HOSTNAME)", "$$"}
	created := create(t, ns, pod)
	c := created.Spec.Containers[0]
	words := strings.Join(append(c.Command, c.Args...), " ")
	if !strings.HasPrefix(words, "/podinit/init ") || strings.Count(words, "/podinit/init") != 1 ||
		!strings.HasSuffix(words, " -- env LATE=1 bash -c while :; do sleep 0.2; done app $(HOSTNAME) $$") {
		t.Errorf("command %q, args %q", c.Command, c.Args)
	}
	started(t, created)
	if ps := execute(t, created, "ps", "-e", "-o", "pid,args"); strings.Count(ps, "/podinit/init") != 1 || !strings.Contains(ps, "1 /podinit/init") {
		t.Errorf("not one init as PID 1:\n%s", ps)
	}
	// What the documentation has people write in place of 1.
	byParent := strings.TrimSpace(execute(t, created, "pgrep", "-o", "-P", "1"))
	byChildren := strings.TrimSpace(execute(t, created, "cut", "-d ", "-f1", "/proc/1/task/1/children"))
	byName := strings.TrimSpace(execute(t, created, "pgrep", "-o", "-x", "bash"))
	if byParent == "" || byParent != byChildren || byParent != byName {
		t.Errorf("the program is %s by its parent, %s by the init's children, %s by its name", byParent, byChildren, byName)
	}
}

// lateWebhook serves, from this process, a webhook that the apiserver calls after ours for pods of one namespace; called
// says of a pod that it was.
func lateWebhook(t *testing.T, ns string, mutate http.HandlerFunc, called func(*corev1.Pod) bool) {
	t.Helper()
	certificate, bundle := selfSigned(t)
	listener, err := net.Listen("tcp", cluster.HostIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:   mutate,
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
		if err == nil && called(pod) {
			return
		}
		if time.Since(began) > suite.Patience {
			t.Fatalf("the apiserver does not call the late webhook: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// putBefore answers a review with env before each command.
func putBefore(w http.ResponseWriter, r *http.Request) {
	patched(w, r, func(pod *corev1.Pod) (patch []map[string]any) {
		for i, c := range pod.Spec.Containers {
			at := fmt.Sprintf("/spec/containers/%d/", i)
			patch = append(patch,
				map[string]any{"op": "add", "path": at + "args", "value": append(c.Command, c.Args...)},
				map[string]any{"op": "add", "path": at + "command", "value": []string{"env", "LATE=1"}})
		}
		return patch
	})
}

// addLate answers a review with a container and an init container more.
func addLate(w http.ResponseWriter, r *http.Request) {
	patched(w, r, lateContainers)
}

func lateContainers(pod *corev1.Pod) []map[string]any {
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
	return patch
}

// patched answers a review with a patch for its pod.
func patched(w http.ResponseWriter, r *http.Request, makePatch func(*corev1.Pod) []map[string]any) {
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
	text, err := json.Marshal(makePatch(&pod))
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
	pod := admit(t, ns, shellPod("dry", "true"))
	if pod.Spec.Containers[0].Command[0] != "/podinit/init" {
		t.Errorf("the command is %q", pod.Spec.Containers[0].Command)
	}
	list, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("%d pods after a dry run (%v)", len(list.Items), err)
	}
}
