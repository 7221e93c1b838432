package chart

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

var (
	clusterFlag = flag.Bool("cluster", false, "test on the running test cluster, too")
	imagesFlag  = flag.String("images", "", "`directory` with init.tar and webhook.tar, for -cluster")
)

// live is the test cluster, with podinit's images in its registry.
type live struct {
	*cluster.Cluster
	client *kubernetes.Clientset
	// The images, by digest.
	init, webhook string
	// values say where the images are.
	values []string
}

var opened *live

// open returns the test cluster.
func open(t *testing.T) *live {
	t.Helper()
	if !*clusterFlag {
		t.Fatal("this test is for -cluster: 'make test-chart'; without one, 'make test-chart-render' leaves it out by name")
	}
	if opened != nil {
		return opened
	}
	running, client, err := suite.Open()
	if err != nil {
		t.Fatal(err)
	}
	l := &live{Cluster: running, client: client}
	reference := map[string]string{}
	digest := func(name string) string { _, digest, _ := strings.Cut(reference[name], "@"); return digest }
	for _, name := range []string{"init", "webhook"} {
		if reference[name], err = cluster.PushBuilt(t.Context(), *imagesFlag, name); err != nil {
			t.Fatal(err)
		}
	}
	l.init, l.webhook = reference["init"], reference["webhook"]
	l.values = []string{"--set=images.registry=" + cluster.Registry + "/podinit,images.init.digest=" + digest("init") + ",images.webhook.digest=" + digest("webhook")}
	// Helm asks KUBECONFIG, and would leave its cache in the home directory.
	for name, value := range map[string]string{"KUBECONFIG": cluster.Kubeconfig, "HELM_CACHE_HOME": "helm", "HELM_CONFIG_HOME": "helm", "HELM_DATA_HOME": "helm"} {
		if value == "helm" {
			value = filepath.Join(os.TempDir(), "podinit-test-helm")
		}
		os.Setenv(name, value)
	}
	opened = l
	return l
}

func (l *live) kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := run(t, *kubectlFlag, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// empty removes podinit, whoever has installed it, and makes its namespace.
func (l *live) empty(t *testing.T) {
	t.Helper()
	runHelm(t, "helm4", "uninstall", "podinit", "--namespace", system) // if there is a release
	l.kubectl(t, "delete", "--ignore-not-found", "mutatingwebhookconfiguration", "zz-podinit")
	l.kubectl(t, "delete", "--ignore-not-found", "clusterrole,clusterrolebinding", "podinit-webhook", "podinit-webhook-pull-secrets", "podinit-webhook-events", "podinit-certificates")
	l.kubectl(t, "delete", "--ignore-not-found", "validatingadmissionpolicy,validatingadmissionpolicybinding", "podinit-wrapping")
	l.kubectl(t, "delete", "--ignore-not-found", "crd", "initprofiles.podinit.dev")
	run(t, *kubectlFlag, "delete", "pods", "--all", "-n", system, "--grace-period=0", "--force") // nobody waits for their replies
	l.kubectl(t, "delete", "--ignore-not-found", "namespace", system)
	l.kubectl(t, "create", "namespace", system)
	l.kubectl(t, "label", "namespace", system, "pod-security.kubernetes.io/enforce=restricted")
}

// release is podinit as one Helm has installed it.
type release struct {
	*live
	helm  string
	chart string
}

func (r release) do(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := runHelm(t, r.helm, append(arguments, "--namespace", system, "--wait", "--timeout=3m")...)
	if err != nil {
		r.describe(t)
		t.Fatal(err)
	}
	return out
}

func (r release) install(t *testing.T, values ...string) string {
	t.Helper()
	return r.do(t, append(append([]string{"install", "podinit", r.chart}, r.values...), values...)...)
}

// upgrade changes the values that are named, and leaves the others.
func (r release) upgrade(t *testing.T, values ...string) string {
	t.Helper()
	return r.do(t, append([]string{"upgrade", "podinit", r.chart, "--reset-then-reuse-values"}, values...)...)
}

// describe logs what an installation that did not become ready looks like.
func (l *live) describe(t *testing.T) {
	t.Helper()
	for _, arguments := range [][]string{
		{"get", "pods", "-n", system},
		{"get", "events", "-n", system, "--sort-by=.lastTimestamp"},
		{"logs", "-n", system, "-l", "app.kubernetes.io/name=podinit", "--tail=20", "--prefix"},
	} {
		out, _ := run(t, *kubectlFlag, arguments...)
		t.Log(out)
	}
}

// namespace makes a namespace that is labelled, and removes it when the test ends.
func (l *live) namespace(t *testing.T) string {
	t.Helper()
	return suite.Namespace(t, l.client, metav1.ObjectMeta{GenerateName: "chart-", Labels: map[string]string{"podinit.dev/inject": "enabled"}})
}

// pod is one whose program is the one that holds the cluster's sandboxes: it waits.
func pod() *corev1.Pod {
	now := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &now,
			Containers:                    []corev1.Container{{Name: "app", Image: cluster.PauseImage, Command: []string{"/pause"}}},
		},
	}
}

// wraps creates a pod, which must come back wrapped, and run.
func (l *live) wraps(t *testing.T, namespace string) *corev1.Pod {
	t.Helper()
	made, err := l.client.CoreV1().Pods(namespace).Create(t.Context(), pod(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !load.Wrapped(made) {
		l.describe(t)
		t.Fatalf("the pod is not wrapped: %v", made.Spec.Containers[0].Command)
	}
	if image := made.Spec.InitContainers[0].Image; image != l.init {
		t.Errorf("the init comes from %s, want %s", image, l.init)
	}
	suite.Eventually(t, "pod "+made.Name+" to run", func(ctx context.Context) (_ bool, err error) {
		made, err = l.client.CoreV1().Pods(namespace).Get(ctx, made.Name, metav1.GetOptions{})
		return err == nil && len(made.Status.ContainerStatuses) == 1 && made.Status.ContainerStatuses[0].Ready, err
	})
	return made
}

// during creates pods while something is done, and fails if one is refused, or not wrapped where all must be.
func (l *live) during(t *testing.T, what string, wrapsAll bool, do func()) {
	t.Helper()
	creating := load.Start(t, l.client, 40)
	do()
	took, c := creating.Into(), creating.Stop()
	t.Logf("%s: %.1f s, %d pods created, %d failed, %d unwrapped", what, took.Seconds(), c.Created, c.Failed, c.Unwrapped)
	if c.Created == 0 || c.Failed > 0 || wrapsAll && c.Unwrapped > 0 {
		t.Errorf("%s: of %d pods %d failed and %d are unwrapped:\n%q", what, c.Created, c.Failed, c.Unwrapped, c.Problems)
	}
}

// may says whether one of podinit's service accounts has a right.
func (l *live) may(t *testing.T, account, verb, group, resource, name, namespace string) bool {
	t.Helper()
	review, err := l.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + system + ":" + account,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Name: name, Namespace: namespace},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// apply has the apiserver validate what the chart makes of values, strictly, and make nothing of it.
func (l *live) apply(t *testing.T, values ...string) {
	t.Helper()
	text, err := runHelm(t, "helm4", append([]string{"template", "podinit", chart, "--namespace", system}, values...)...)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", file)
}
