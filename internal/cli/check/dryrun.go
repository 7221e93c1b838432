package check

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

const (
	// maxTries bounds in how many namespaces the pod is tried: quotas and policies may refuse it.
	maxTries = 3
	// dryRuns is how often it is sent, so that with two replicas both most likely answer: the apiserver connects to one
	// by chance, but keeps connections.
	dryRuns = 4
	// cleanUpTime is how long deleting the temporary namespace may take, whatever else has happened.
	cleanUpTime = 10 * time.Second
)

// dryRun has the apiserver admit a pod, and makes none.
func (g *Gatherer) dryRun(ctx context.Context, f *Facts) {
	candidates := []string{g.DryRunNamespace}
	switch {
	case g.Temporary:
		name, remove, err := g.temporary(ctx)
		if err != nil {
			f.DryRun.Err = err
			return
		}
		defer remove()
		candidates = []string{name}
	case g.DryRunNamespace == "":
		candidates = optedIn(f)
	}
	for i, namespace := range candidates {
		if i == maxTries {
			return
		}
		f.DryRun = DryRun{Namespace: namespace}
		for range dryRuns {
			pod, err := g.Client.CoreV1().Pods(namespace).Create(ctx, dryRunPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				f.DryRun.Err = err
				break
			}
			f.DryRun.Answers = append(f.DryRun.Answers, answerOf(pod))
		}
		if f.DryRun.Err == nil {
			return
		}
	}
}

// optedIn are the namespaces that are labelled for podinit and not excluded.
func optedIn(f *Facts) []string {
	var all []string
	for _, n := range f.Namespaces.Value {
		if n.Labels[v1alpha1.Inject] == v1alpha1.InjectEnabled && !excluded(f, n.Name) {
			all = append(all, n.Name)
		}
	}
	return all
}

// temporary makes a namespace that has opted in, in which pods may be made.
func (g *Gatherer) temporary(ctx context.Context) (name string, remove func(), err error) {
	created, err := g.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "podinit-check-", Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled},
	}}, metav1.CreateOptions{})
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary namespace: %w", err)
	}
	remove = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
		defer cancel()
		_ = g.Client.CoreV1().Namespaces().Delete(ctx, created.Name, metav1.DeleteOptions{}) // what stays is empty, and its name says whose it is
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := g.Client.CoreV1().ServiceAccounts(created.Name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("waiting for the service account of the temporary namespace %s: %w", created.Name, err)
	}
	return created.Name, remove, nil
}

// dryRunPod suits Pod Security's restricted level, and quotas that ask for requests and limits of everything.
func dryRunPod() *corev1.Pod {
	yes, no := true, false
	user := int64(65532)
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("64Mi"),
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "podinit-check-", Labels: map[string]string{"app.kubernetes.io/name": "podinit-check"}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.k8s.io/pause:3.10", Command: []string{"/pause"},
				Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

func answerOf(pod *corev1.Pod) DryRunAnswer {
	var a DryRunAnswer
	for _, c := range pod.Spec.Containers {
		if c.Name == "app" && len(c.Command) > 0 && c.Command[0] == inject.InitPath {
			a.Wrapped = true
		}
	}
	var status v1alpha1.Status
	if json.Unmarshal([]byte(pod.Annotations[v1alpha1.StatusAnnotation]), &status) == nil {
		a.Status = &status
	}
	return a
}
