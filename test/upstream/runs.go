package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
)

// Run is how podinit is installed while the suites run.
type Run struct {
	// Name is in the row on the page.
	Name string
	// Install is how it is installed; nil for the run without podinit.
	Install *installation
	// Differs are the specs of a suite that do not end as without podinit, each with its cause. Those of the run without podinit fail.
	Differs map[string]map[string]string
}

func (r Run) String() string { return r.Name }

// installation is one of the ways to install podinit.
type installation struct {
	// images are the images of the kustomization, by the placeholders in its text.
	images map[string]string
	// kustomization is the file that has it.
	kustomization string
	// extra stands at its end.
	extra string
	// profile is an InitProfile named default.
	profile string
	// namespace has the pods whose metric counts containers, selector selects these, and workloads are waited for.
	namespace, selector, metric string
	workloads                   []string
}

// registries configures the webhook as containerd is configured: images of registry.k8s.io are in the cluster's registry, others nowhere.
var registries = fmt.Sprintf(`- patch: |-
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: podinit-registries, namespace: podinit-system}
    data:
      registries.yaml: |
        registries:
        - {host: %[1]s, mirrors: [%[2]q]}
        - {host: %[2]q, plainHTTP: true}
        - {host: "*.*", lookup: off}
`, upstreamRegistry, cluster.Registry)

func webhook(delivery v1alpha1.DeliveryPolicy) *installation {
	return &installation{
		kustomization: "config/deploy.yaml", images: map[string]string{"@INIT_IMAGE@": "init", "@WEBHOOK_IMAGE@": "webhook"}, extra: registries,
		profile:   fmt.Sprintf(`{"apiVersion": "podinit.dev/v1alpha1", "kind": "InitProfile", "metadata": {"name": "default"}, "spec": {"delivery": %q}}`, delivery),
		namespace: "podinit-system", selector: "app.kubernetes.io/component=webhook", metric: "podinit_containers_total",
		workloads: []string{"deployment/podinit-certificates", "deployment/podinit-webhook"},
	}
}

var node = &installation{
	kustomization: "test/cluster/node_mode.yaml", images: map[string]string{"@INIT_IMAGE@": "init", "@NODE_IMAGE@": "node"},
	namespace: "podinit-node", selector: "app.kubernetes.io/component=node", metric: "podinit_node_containers_total",
	workloads: []string{"daemonset/podinit-node"},
}

// withoutPodinit is the name of the run that the others are compared with.
const withoutPodinit = "without podinit"

// runs are in this order.
func runs(ctx context.Context) []Run {
	var lacks map[string]string
	if !hasDummies(ctx) {
		lacks = dummies
	}
	return []Run{
		{Name: withoutPodinit, Differs: map[string]map[string]string{nodeConformance: lacks, appsConformance: pairs}},
		{Name: "init container", Install: webhook(v1alpha1.DeliverByInitContainer), Differs: map[string]map[string]string{nodeConformance: copied}},
		{Name: "image volume", Install: webhook(v1alpha1.DeliverByImageVolume)},
		{Name: "node mode", Install: node},
	}
}

// installer installs podinit on the test cluster.
type installer struct {
	*cluster.Cluster
	client *kubernetes.Clientset
	// images has the archives of podinit's images.
	images string
}

// upstreamRegistry is where Kubernetes' tests have their images.
const upstreamRegistry = "registry.k8s.io"

// optIn has every new namespace opt in. Kubernetes' tests make one for each spec, and pods are created in it at once.
const optIn = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: podinit-upstream}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE]}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: 'Object{metadata: Object.metadata{labels: {"` + v1alpha1.Inject + `": "enabled"}}}'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: podinit-upstream}
spec: {policyName: podinit-upstream}
`

// prepare has nodes pull the tests' images from the cluster's registry, and every namespace opt in, in all runs alike.
func (i installer) prepare(ctx context.Context) error {
	hosts := filepath.Join(cluster.Dir, "etc", "certs.d", upstreamRegistry)
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%s\"\n", cluster.Registry), 0o600); err != nil {
		return err
	}
	if err := i.kubectl(ctx, optIn, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := i.kubectl(ctx, "", "label", "--overwrite", "namespace/default", v1alpha1.Inject+"=enabled"); err != nil {
		return err
	}
	return i.await(ctx, "a new namespace opts in", func(ctx context.Context) (bool, error) {
		made, err := i.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "upstream-"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && made.Labels[v1alpha1.Inject] == "enabled", err
	})
}

// install installs podinit as the run has it, and waits for it.
func (i installer) install(ctx context.Context, r Run) error {
	how := r.Install
	if how == nil {
		return nil
	}
	replace := []string{"@DIRECTORY@", cluster.InitDirectory}
	for placeholder, image := range how.images {
		reference, err := cluster.PushBuilt(ctx, i.images, image)
		if err != nil {
			return err
		}
		replace = append(replace, placeholder, reference)
	}
	if err := i.Apply(ctx, ".", how.kustomization, how.extra, replace...); err != nil {
		return err
	}
	for _, workload := range how.workloads {
		if err := i.kubectl(ctx, "", "-n", how.namespace, "rollout", "status", workload, "--timeout=3m"); err != nil {
			return err
		}
	}
	if how.profile == "" {
		return nil
	}
	if err := i.kubectl(ctx, how.profile, "apply", "-f", "-"); err != nil {
		return err
	}
	return i.await(ctx, "pods are wrapped", i.wraps)
}

// wraps tells whether the webhook wraps a pod whose command only its image knows.
func (i installer) wraps(ctx context.Context) (bool, error) {
	pod, err := i.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "upstream"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "agnhost", Image: upstreamRegistry + "/" + agnhost}}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, err
	}
	return len(pod.Spec.Containers[0].Command) > 0, nil
}

// remove takes podinit away.
func (i installer) remove(ctx context.Context) error {
	for _, kustomization := range []string{"config/default", "config/node"} {
		if err := i.kubectl(ctx, "", "delete", "--ignore-not-found", "-k", kustomization); err != nil {
			return err
		}
	}
	return nil
}

func (i installer) kubectl(ctx context.Context, input string, args ...string) error {
	_, err := i.RunKubectl(ctx, input, args...)
	return err
}

func (i installer) await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	if err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, done); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// counts is how many containers podinit has wrapped, and how many it has left alone, by reason.
type counts map[string]float64

// wrapped is the key of the wrapped ones.
const wrapped = string(v1alpha1.ActionWrapped)

// counts asks podinit's pods.
func (i installer) counts(ctx context.Context, r Run) (counts, error) {
	sum := counts{}
	if r.Install == nil {
		return sum, nil
	}
	pods, err := i.client.CoreV1().Pods(r.Install.namespace).List(ctx, metav1.ListOptions{LabelSelector: r.Install.selector})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods.Items {
		families, err := cluster.Metrics(ctx, i.client, r.Install.namespace, pod.Name)
		if err != nil {
			return nil, fmt.Errorf("the metrics of %s: %w", pod.Name, err)
		}
		for _, m := range families[r.Install.metric].GetMetric() {
			key := label(m, "reason")
			if key == "" {
				key = label(m, "action")
			}
			if n := m.GetCounter().GetValue(); n > 0 {
				sum[key] += n
			}
		}
	}
	return sum, nil
}

func label(m *dto.Metric, name string) string {
	i := slices.IndexFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == name })
	if i < 0 {
		return ""
	}
	return m.GetLabel()[i].GetValue()
}

func (c counts) minus(before counts) counts {
	left := counts{}
	for key, n := range c {
		if n -= before[key]; n > 0 {
			left[key] = n
		}
	}
	return left
}

func (c counts) sum() (all float64) {
	for _, n := range c {
		all += n
	}
	return all
}

func (c counts) String() string {
	text, _ := json.Marshal(map[string]float64(c)) // numbers have no error
	return string(text)
}
