package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/test/controlplane"
)

const (
	// imagesOnNode is how many images a node reports: as many as a kubelet does by default (nodeStatusMaxImages), the first
	// commonImages of which all nodes have.
	imagesOnNode, commonImages = 50, 30
	// podsOfWorkload are those of one ReplicaSet, and workloadsOfNamespace how many ReplicaSets a namespace has.
	podsOfWorkload, workloadsOfNamespace = 20, 50
	// patience bounds the time that KWOK may take to catch up.
	patience = 5 * time.Minute
)

// addNodes creates nodes until there are so many, waits until KWOK has them all ready, and creates a pod of podinit-prepull on each.
func (b *bench) addNodes(ctx context.Context, nodes int) error {
	b.say("creating nodes, up to %d", nodes)
	var prepull appsv1.DaemonSet
	text, err := os.ReadFile("config/prepull/daemonset.yaml")
	if err != nil {
		return fmt.Errorf("the benchmark runs in the repository's root: %w", err)
	}
	if err := yaml.UnmarshalStrict(text, &prepull); err != nil {
		return err
	}
	err = parallel(ctx, b.made.nodes+1, nodes, func(ctx context.Context, i int) error {
		_, err := b.client.CoreV1().Nodes().Create(ctx, node(i), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	err = b.await(ctx, "the nodes to be ready", func() (bool, error) {
		list, err := b.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		for _, n := range list.Items {
			if len(n.Status.Conditions) == 0 || len(n.Status.Images) != imagesOnNode {
				return false, nil
			}
		}
		return len(list.Items) == nodes, nil
	})
	if err != nil {
		return err
	}
	if err := b.CreateNamespace(ctx, controlplane.Namespace, ""); err != nil { // it is there; its account is not
		return err
	}
	// KWOK overlooks pods that are on a node before it has the node.
	err = parallel(ctx, b.made.nodes+1, nodes, func(ctx context.Context, i int) error {
		return b.own(ctx, "DaemonSet", canary.DaemonSet, fmt.Sprintf("-%d", i), i, prepull.Spec.Template)
	})
	if err == nil && b.made.nodes == 0 {
		err = b.installed(ctx)
	}
	b.made.nodes = nodes
	return err
}

// installed puts in what else there is of an installation: the Deployment, and its pods, as the command line looks for them.
func (b *bench) installed(ctx context.Context) error {
	var webhook appsv1.Deployment
	text, err := os.ReadFile("config/manager/deployment.yaml")
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, &webhook); err != nil {
		return err
	}
	webhook.Labels["app.kubernetes.io/name"] = "podinit"
	template := &webhook.Spec.Template
	template.Spec.Containers[0].Env[0].Value = controlplane.InitImage
	template.Spec.InitContainers[0].Image = controlplane.InitImage
	if err := b.Create(ctx, webhook.DeepCopy()); err != nil {
		return err
	}
	for i := range replicas {
		if err := b.own(ctx, "ReplicaSet", canary.Deployment+"-6d4b9c7f58", fmt.Sprintf("-%d", i), 1, *template); err != nil {
			return err
		}
	}
	return nil
}

// own creates a pod of podinit's own on a node.
func (b *bench) own(ctx context.Context, kind, owner, suffix string, node int, template corev1.PodTemplateSpec) error {
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Name, pod.Namespace, pod.OwnerReferences = owner+suffix, controlplane.Namespace, ownedBy(kind, owner)
	pod.Spec.NodeName = nodeName(node)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if containers[i].Name == canary.InitContainer {
				containers[i].Image = controlplane.InitImage
			}
		}
	}
	_, err := b.client.CoreV1().Pods(controlplane.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

func ownedBy(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(uid(name)), Controller: &yes,
		BlockOwnerDeletion: &yes}}
}

// uid is a UUID of a name.
func uid(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func nodeName(i int) string {
	return fmt.Sprintf("ip-10-%d-%d-%d.eu-central-1.compute.internal", i>>16, i>>8&255, i&255)
}

// node is what a cloud's node shows: labels, addresses, and 50 images, as many as a kubelet reports.
func node(i int) *corev1.Node {
	name, zone := nodeName(i), fmt.Sprintf("eu-central-1%c", 'a'+i%3)
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"), "hugepages-1Gi": resource.MustParse("0"),
		"hugepages-2Mi": resource.MustParse("0"),
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelArchStable: "amd64", corev1.LabelOSStable: "linux", corev1.LabelHostname: name, corev1.LabelTopologyZone: zone,
				corev1.LabelTopologyRegion: "eu-central-1", corev1.LabelInstanceTypeStable: "m7i.4xlarge", "beta.kubernetes.io/arch": "amd64",
				"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/instance-type": "m7i.4xlarge", "failure-domain.beta.kubernetes.io/zone": zone,
				"failure-domain.beta.kubernetes.io/region": "eu-central-1", "eks.amazonaws.com/capacityType": "ON_DEMAND",
				"eks.amazonaws.com/nodegroup": "workers-" + zone, "eks.amazonaws.com/nodegroup-image": "ami-0123456789abcdef0",
				"k8s.io/cloud-provider-aws": uid("cloud"), "topology.ebs.csi.aws.com/zone": zone, "node.kubernetes.io/pool": "workers",
			},
			Annotations: map[string]string{
				"csi.volume.kubernetes.io/nodeid":                        fmt.Sprintf(`{"ebs.csi.aws.com":"i-%.17x"}`, sha256.Sum256([]byte(name))),
				"node.alpha.kubernetes.io/ttl":                           "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
				"alpha.kubernetes.io/provided-node-ip":                   fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255),
			},
		},
		Spec: corev1.NodeSpec{ProviderID: "aws:///" + zone + "/i-" + uid(name)[:8]},
		Status: corev1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)},
				{Type: corev1.NodeInternalDNS, Address: name}, {Type: corev1.NodeHostName, Address: name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID: uid("machine" + name), SystemUUID: uid("system" + name), BootID: uid("boot" + name),
				KernelVersion: "6.12.40-63.114.amzn2023.x86_64",
				OSImage:       "Amazon Linux 2023.8.20260914", ContainerRuntimeVersion: "containerd://2.3.1", KubeletVersion: "v1.36.3",
				OperatingSystem: "linux",
				Architecture:    "amd64",
			},
		},
	}
	for j := range imagesOnNode {
		image := fmt.Sprintf("registry.example.com/platform/component-%d", j)
		if j >= commonImages {
			image = fmt.Sprintf("registry.example.com/team-%d/service-%d", (i+j)%100, (i*7+j)%400)
		}
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{
			Names: []string{image + "@" + digest(image), image + ":v1.27.3"}, SizeBytes: int64(50+j) << 20,
		})
	}
	return n
}

func digest(image string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(image))) }

// addPods creates pods until the cluster has so many, or the time for that is over, in namespaces that have opted in, and
// waits until KWOK has them all
// running. It returns how many were created in a second.
func (b *bench) addPods(ctx context.Context, pods int) (rate float64, err error) {
	first := b.made.pods + 1
	b.say("creating pods, up to %d", pods)
	perNamespace := podsOfWorkload * workloadsOfNamespace
	for i := first / perNamespace; i <= pods/perNamespace; i++ {
		if err := b.CreateNamespace(ctx, namespaceOf(i*perNamespace), v1alpha1.InjectEnabled); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second) // until the apiserver's admission knows the namespaces
	began := time.Now()
	var created atomic.Int64
	err = parallel(ctx, first, pods, func(ctx context.Context, i int) error {
		if time.Since(began) > b.fill {
			return nil
		}
		created.Add(1)
		_, err := b.create(ctx, namespaceOf(i), i)
		return err
	})
	if err != nil {
		return 0, err
	}
	rate = float64(created.Load()) / time.Since(began).Seconds()
	b.made.pods += int(created.Load())
	b.say("there are %d pods, created at %.0f a second", b.made.pods, rate)
	return rate, b.settled(ctx)
}

// settled waits until no pod waits for KWOK.
func (b *bench) settled(ctx context.Context) error {
	return b.await(ctx, "the pods to run", func() (bool, error) {
		list, err := b.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending", Limit: 500})
		if err != nil || len(list.Items) == 0 {
			return err == nil, err
		}
		b.say("%d pods or more do not run yet, such as %s", len(list.Items), list.Items[0].Name)
		return false, nil
	})
}

func namespaceOf(i int) string {
	return fmt.Sprintf("team-%d", i/(podsOfWorkload*workloadsOfNamespace))
}

// create creates a pod and says whether it was wrapped.
func (b *bench) create(ctx context.Context, namespace string, i int) (wrapped bool, err error) {
	pod, err := b.client.CoreV1().Pods(namespace).Create(ctx, b.pod(namespace, i), metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return pod.Annotations[v1alpha1.StatusAnnotation] != "" && len(pod.Spec.InitContainers) == 1, nil
}

// pod is one of a Deployment's: an application and a sidecar, with probes, resources and an environment. Both name their
// commands, so that no registry is asked.
func (b *bench) pod(namespace string, i int) *corev1.Pod {
	app := fmt.Sprintf("service-%d", i/podsOfWorkload)
	hash := uid(namespace + app)[:8]
	set := app + "-" + hash
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/health"}}}, PeriodSeconds: 10}
	var environment []corev1.EnvVar
	for j := range 15 {
		environment = append(environment, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", j),
			Value: fmt.Sprintf("https://%s.%s.svc.cluster.local:8443/v%d", app, namespace, j)})
	}
	resources := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%d", set, i), OwnerReferences: ownedBy("ReplicaSet", set),
			Labels: map[string]string{
				"app.kubernetes.io/name": app, "app.kubernetes.io/instance": namespace, "app.kubernetes.io/version": "1.27.3",
				"pod-template-hash": hash,
			},
			Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "checksum/config": digest(app)},
		},
		Spec: corev1.PodSpec{
			NodeName: nodeName(1 + i%b.made.nodes),
			Containers: []corev1.Container{
				{
					Name: "app", Image: fmt.Sprintf("registry.example.com/team/%s:v1.27.3", app), Command: []string{"/bin/sh", "-c",
						"exec /app/server --port=8443"}, Env: environment,
					Resources: resources, ReadinessProbe: probe, LivenessProbe: probe, Ports: []corev1.ContainerPort{{Name: "https", ContainerPort: 8443}},
				},
				{Name: "logs", Image: "registry.example.com/platform/logs:v1.27.3", Command: []string{"/bin/logs"}, Env: environment[:5],
					Resources: resources},
			},
		},
	}
}

// await waits until done says so.
func (b *bench) await(ctx context.Context, what string, done func() (bool, error)) error {
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Second) {
		switch is, err := done(); {
		case is:
			return nil
		case err != nil && !apierrors.IsTimeout(err):
			return fmt.Errorf("waiting for %s: %w", what, err)
		case ctx.Err() != nil || time.Now().After(end):
			return fmt.Errorf("waiting for %s: not within %s", what, patience)
		case b.kwokd.Ended() != nil:
			return fmt.Errorf("KWOK %w:\n%s", b.kwokd.Ended(), b.kwokd.Tail())
		}
	}
}
