package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/registry"
)

// kubeletPort is taken on every node.
const kubeletPort = 10250

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func checkDeployment(f *Facts, r *Result) {
	if f.Deployment.missing() {
		r.fail(reinstall(f), "no Deployment in namespace %s is labelled %s: there is no webhook", f.Namespace, installation.Selector)
		return
	}
	if !f.Deployment.usable(r, "Deployments in namespace "+f.Namespace) {
		return
	}
	d := f.Deployment.Value
	want := replicasOf(d)
	if want == 0 {
		r.fail(kubectl(f, "scale deployment", d.Name, "--replicas=2"), "Deployment %s is scaled to 0: no webhook runs", d.Name)
		return
	}
	r.say("%d of %d", d.Status.ReadyReplicas, want)
	if want == 1 {
		r.warn(kubectl(f, "scale deployment", d.Name, "--replicas=2"), "there is one replica: while it restarts, pods are not wrapped")
	}
	if spec := d.Spec.Template.Spec; spec.HostNetwork && installation.Flag(d, "port") == "" {
		r.fail("Set another port, such as -port=10260.", "with hostNetwork, the kubelet uses port %d", kubeletPort)
	}
	rollout := kubectl(f, "rollout status deployment", d.Name)
	if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < want {
		r.fail(rollout, "the last change of Deployment %s is not rolled out: %d of %s updated", d.Name, d.Status.UpdatedReplicas,
			output.Count(int(want), "replica"))
	}
	if ready := d.Status.ReadyReplicas; ready < want {
		r.fail(kubectl(f, "get pods -l", installation.Selector), "%d of %s ready", ready, output.Count(int(want), "replica"))
	} else if d.Status.Replicas > want {
		r.fail(rollout, "%d replicas run, %d are wanted: a rollout is under way, or hangs", d.Status.Replicas, want)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			r.fail("See "+kubectl(f, "get events"), "cannot create pods: %s", c.Message)
		}
	}
	if f.Pods.Err == nil {
		for i := range f.Pods.Value {
			why(f, r, &f.Pods.Value[i])
		}
	}
}

// why says what keeps a pod of the webhook from being ready.
func why(f *Facts, r *Result, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		return
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			r.fail(kubectl(f, "describe pod", pod.Name), "pod %s has no node: %s", pod.Name, c.Message)
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		// Those after an initContainer that waits only say that they wait for it.
		if c.Ready || c.State.Waiting != nil && c.State.Waiting.Reason == "PodInitializing" {
			continue
		}
		ended := c.State.Terminated
		if ended == nil {
			ended = c.LastTerminationState.Terminated
		}
		switch waiting := c.State.Waiting; {
		case ended != nil:
			r.fail(kubectl(f, "logs", pod.Name, "--previous"),
				"pod %s ended with exit code %d (%s): %s", pod.Name, ended.ExitCode, ended.Reason, lastLine(ended.Message))
		case waiting != nil && waiting.Message != "":
			r.fail(kubectl(f, "describe pod", pod.Name), "pod %s: %s: %s", pod.Name, waiting.Reason, lastLine(waiting.Message))
		case waiting != nil:
			r.fail(kubectl(f, "describe pod", pod.Name), "pod %s: %s", pod.Name, waiting.Reason)
		default:
			r.fail(kubectl(f, "logs", pod.Name), "pod %s runs, but is not ready", pod.Name)
		}
	}
}

// maxLine bounds what is repeated of a message, in bytes.
const maxLine = 300

// lastLine is where programs say why they end.
func lastLine(message string) string {
	lines := strings.Split(strings.TrimSpace(message), "\n")
	last := lines[len(lines)-1]
	if len(last) > maxLine {
		last = strings.ToValidUTF8(last[:maxLine], "") + " ..."
	}
	return last
}

// checkReplicas goes by what runs, not by what the Deployment wants: also a pod that only has the same labels gets
// requests. A replica that is on its way out does not count.
func checkReplicas(f *Facts, r *Result) {
	if !f.Pods.usable(r, "the webhook's pods") {
		return
	}
	architecture := map[string]string{}
	for _, n := range f.Nodes.Value {
		architecture[n.Name] = n.Info.Architecture
	}
	byName, byDigest := map[string][]string{}, map[string]map[string][]string{}
	var foreign []string
	for _, pod := range f.Pods.Value {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if metav1.GetControllerOf(&pod) == nil {
			foreign = append(foreign, pod.Name)
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.Name != installation.Container || !c.Ready {
				continue
			}
			for _, wanted := range pod.Spec.Containers {
				if wanted.Name == c.Name {
					byName[wanted.Image] = append(byName[wanted.Image], pod.Name)
				}
			}
			// Some runtimes name the image of the platform, so only nodes of one architecture can be compared.
			if on := architecture[pod.Spec.NodeName]; on != "" {
				if byDigest[on] == nil {
					byDigest[on] = map[string][]string{}
				}
				byDigest[on][c.ImageID] = append(byDigest[on][c.ImageID], pod.Name)
			}
		}
	}
	if len(foreign) > 0 {
		r.warn(kubectl(f, "delete pod", foreign[0]),
			"pods that belong to no Deployment have the webhook's labels, and get its requests: %s", names(foreign))
	}
	differ := byName
	for _, arch := range slices.Sorted(maps.Keys(byDigest)) {
		if len(differ) < 2 {
			differ = byDigest[arch]
		}
	}
	if len(differ) < 2 {
		return
	}
	var said []string
	for _, image := range slices.Sorted(maps.Keys(differ)) {
		said = append(said, fmt.Sprintf("%s by %s", image, names(differ[image])))
	}
	r.fail(kubectl(f, "rollout status", deploymentOf(f))+"; if it hangs, "+kubectl(f, "get pods -o wide -l", installation.Selector),
		"replicas run different images, and pods are wrapped by one or the other: %s", strings.Join(said, "; "))
}

func checkRegistryConfig(f *Facts, r *Result) {
	if f.RegistryConfig.missing() && f.Deployment.Err == nil && installation.Flag(f.Deployment.Value, "registry-config") == "" {
		return // none is asked for
	}
	if !f.RegistryConfig.usable(r, "registry configuration") {
		return
	}
	if _, err := registry.ParseConfig([]byte(f.RegistryConfig.Value)); err != nil {
		r.fail("Correct it: "+kubectl(f, "edit configmap podinit-registries")+"; then "+kubectl(f, "rollout restart", deploymentOf(f)),
			"the webhook cannot start with it: %v", err)
	}
}

func checkService(f *Facts, r *Result) {
	name, port := serviceOf(f)
	if f.Service.missing() {
		r.fail(reinstall(f), "there is no Service %s in namespace %s", name, f.Namespace)
		return
	}
	if !f.Service.usable(r, "Service "+name) {
		return
	}
	var ports []string
	for _, p := range f.Service.Value.Spec.Ports {
		if p.Port != port {
			ports = append(ports, strconv.Itoa(int(p.Port)))
			continue
		}
		if !f.Deployment.usable(r, "Deployment") {
			return
		}
		if problem := target(f, p); problem != "" {
			r.fail(reinstall(f), "Service %s: %s", name, problem)
		}
		return
	}
	r.fail(reinstall(f), "the webhook configuration names port %d; Service %s has %s", port, name, strings.Join(ports, ", "))
}

// target says what is wrong with where a port of the Service leads; empty if nothing is.
func target(f *Facts, p corev1.ServicePort) string {
	container := installation.ContainerOf(f.Deployment.Value)
	listens := int32(kubeletPort)
	if said, err := strconv.ParseInt(installation.Flag(f.Deployment.Value, "port"), 10, 32); err == nil {
		listens = int32(said)
	}
	to, shown := p.TargetPort.IntVal, p.TargetPort.String()
	if p.TargetPort.StrVal != "" {
		i := slices.IndexFunc(container.Ports, func(c corev1.ContainerPort) bool { return c.Name == p.TargetPort.StrVal })
		if i < 0 {
			return fmt.Sprintf("targetPort %s is not a port of the webhook's container", shown)
		}
		to = container.Ports[i].ContainerPort
	}
	if to != listens {
		return fmt.Sprintf("targetPort %s leads to %d; the webhook listens on %d", shown, to, listens)
	}
	return ""
}

func checkEndpoints(f *Facts, r *Result) {
	if !f.Service.usable(r, "Service") || !f.Endpoints.usable(r, "EndpointSlices") {
		return
	}
	name, _ := serviceOf(f)
	ready, waiting := 0, 0
	for _, slice := range f.Endpoints.Value {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			} else {
				waiting++
			}
		}
	}
	r.say("%d", ready)
	if ready > 0 {
		return
	}
	selector := labels.SelectorFromSet(f.Service.Value.Spec.Selector)
	hint := "Compare labels and selector: " + kubectl(f, "get service", name, "-o wide") + " and " + kubectl(f, "get pods --show-labels")
	switch {
	case f.Deployment.Err == nil && !selector.Matches(labels.Set(f.Deployment.Value.Spec.Template.Labels)):
		r.fail(reinstall(f), "Service %s has no endpoints: its selector %s does not match the webhook's pods", name, selector)
	case waiting > 0:
		r.fail("See why: check deployment, above.", "Service %s has no ready endpoint, and %d that are not ready", name, waiting)
	default:
		r.fail(hint, "Service %s has no endpoints", name)
	}
}

func checkReached(f *Facts, r *Result) {
	name, port := serviceOf(f)
	switch {
	case f.Reached.Err == nil && f.Reached.Value:
	case f.Reached.Err == nil:
		r.fail("See which pods these are: "+kubectl(f, "get endpointslices -l kubernetes.io/service-name="+name),
			"the program that answers at Service %s, port %d, is not podinit's webhook", name, port)
	case f.Service.missing():
		r.skip("", "there is no Service")
	case apierrors.IsForbidden(f.Reached.Err):
		f.Reached.usable(r, "through Services' proxies (create services/proxy)")
	default:
		r.fail("Look at the checks of endpoints and port, above; then at firewalls and NetworkPolicies between the control plane and port "+
			strconv.Itoa(kubeletPort)+" of the nodes and pods.",
			"asking Service %s, port %d, through the apiserver: %s", name, port, lastLine(f.Reached.Err.Error()))
	}
}

func checkBudget(f *Facts, r *Result) {
	if !f.Budgets.usable(r, "PodDisruptionBudgets") || !f.Deployment.usable(r, "Deployment") {
		return
	}
	pods := labels.Set(f.Deployment.Value.Spec.Template.Labels)
	for _, b := range f.Budgets.Value {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !selector.Matches(pods) {
			continue
		}
		if b.Status.DisruptionsAllowed == 0 && b.Status.ObservedGeneration == b.Generation && b.Status.CurrentHealthy >= b.Status.ExpectedPods &&
			b.Status.ExpectedPods > 0 {
			r.warn("Use more replicas, or a smaller minAvailable.", "PodDisruptionBudget %s allows no disruption: draining a node will hang", b.Name)
		}
		return
	}
	r.warn(reinstall(f), "no PodDisruptionBudget is for the webhook's pods: draining nodes may evict all of them at once")
}

func checkQuota(f *Facts, r *Result) {
	if !f.Quotas.usable(r, "ResourceQuotas") || !f.Deployment.usable(r, "Deployment") {
		return
	}
	class := f.Deployment.Value.Spec.Template.Spec.PriorityClassName
	if class != "system-cluster-critical" && class != "system-node-critical" || f.Namespace == metav1.NamespaceSystem {
		return
	}
	found := false
	for _, q := range f.Quotas.Value {
		if !namesClass(q.Spec.ScopeSelector, class) {
			continue
		}
		found = true
		hard, used := q.Status.Hard[corev1.ResourcePods], q.Status.Used[corev1.ResourcePods]
		if _, counted := q.Status.Hard[corev1.ResourcePods]; counted && hard.Cmp(used) <= 0 {
			r.warn(kubectl(f, "edit resourcequota", q.Name),
				"ResourceQuota %s is used up (pods: %s of %s): the next rollout cannot create its pod", q.Name, used.String(), hard.String())
		}
	}
	if !found {
		r.warn(reinstall(f), "no ResourceQuota names priority class %s: some clusters (GKE) allow its pods only where one does", class)
	}
}

func namesClass(selector *corev1.ScopeSelector, class string) bool {
	return selector != nil && slices.ContainsFunc(selector.MatchExpressions, func(e corev1.ScopedResourceSelectorRequirement) bool {
		return e.ScopeName == corev1.ResourceQuotaScopePriorityClass && slices.Contains(e.Values, class)
	})
}
