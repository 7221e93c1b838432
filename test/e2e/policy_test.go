package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/retry"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/suite"
)

// demanding are labels of a namespace in which the policy of the tests holds.
func demanding(more map[string]string) map[string]string {
	labels := map[string]string{"demands": "wrapping"}
	for key, value := range more {
		labels[key] = value
	}
	return labels
}

// policy puts config/policy on the cluster for one test, for namespaces that are demanding and for the init's image that
// is deployed, and waits until it holds. Other variables are as they are said to be.
func policy(t *testing.T, namespace string, variables map[string]string) {
	t.Helper()
	file, err := os.Open("../../config/policy/validating_admission_policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	var rule admissionregistrationv1.ValidatingAdmissionPolicy
	var binding admissionregistrationv1.ValidatingAdmissionPolicyBinding
	if err := errors.Join(decoder.Decode(&rule), decoder.Decode(&binding)); err != nil {
		t.Fatal(err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		t.Fatalf("config/policy has more than a policy and a binding: %v", err)
	}
	for i := range rule.Spec.Variables {
		if value, ok := variables[rule.Spec.Variables[i].Name]; ok {
			rule.Spec.Variables[i].Expression = value
		}
	}
	binding.Spec.MatchResources.NamespaceSelector = &metav1.LabelSelector{MatchLabels: demanding(nil)}
	c := client.AdmissionregistrationV1()
	made, err := c.ValidatingAdmissionPolicies().Create(t.Context(), &rule, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := errors.Join(c.ValidatingAdmissionPolicyBindings().Delete(ctx, binding.Name, metav1.DeleteOptions{}),
			c.ValidatingAdmissionPolicies().Delete(ctx, rule.Name, metav1.DeleteOptions{})); err != nil {
			t.Error(err)
		}
		for began := time.Now(); time.Since(began) < suite.Patience; time.Sleep(200 * time.Millisecond) {
			if _, err = client.CoreV1().Pods(namespace).Create(ctx, shellPod("bare", "true"), dryRun); err == nil {
				return
			}
		}
		t.Errorf("the policy still holds: %v", err)
	})
	if _, err := c.ValidatingAdmissionPolicyBindings().Create(t.Context(), &binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for {
		_, err := client.CoreV1().Pods(namespace).Create(t.Context(), shellPod("bare", "true"), dryRun)
		if err != nil && strings.Contains(err.Error(), "podinit: container") {
			break
		}
		if time.Since(began) > suite.Patience {
			t.Fatalf("the policy does not hold: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	// The controller that looks whether expressions fit their kinds takes its time.
	for began := time.Now(); time.Since(began) < 10*time.Second && made.Status.TypeChecking == nil; time.Sleep(200 * time.Millisecond) {
		if made, err = c.ValidatingAdmissionPolicies().Get(t.Context(), rule.Name, metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if made.Status.TypeChecking != nil && len(made.Status.TypeChecking.ExpressionWarnings) > 0 {
		t.Errorf("the apiserver warns of expressions: %+v", made.Status.TypeChecking.ExpressionWarnings)
	}
}

// initRepository is the expression for the repository of the init's image that pods are given.
func initRepository(t *testing.T) (expression, image string) {
	t.Helper()
	pod, err := client.CoreV1().Pods(namespace(t, optedIn())).Create(t.Context(), shellPod("app", "true"), dryRun)
	if err != nil {
		t.Fatal(err)
	}
	image = pod.Spec.InitContainers[0].Image
	repository, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository = repository[:i]
	}
	return "'" + repository + "'", image
}

// TestPolicyAdmits: with config/policy, pods that podinit wraps are created.
func TestPolicyAdmits(t *testing.T) {
	repository, _ := initRepository(t)
	forged := namespace(t, demanding(nil))
	policy(t, forged, map[string]string{"initRepository": repository})
	always := corev1.ContainerRestartPolicyAlways
	for name, c := range map[string]struct {
		profile v1alpha1.InitProfileSpec
		change  func(*corev1.Pod)
		refused string
	}{
		"one container": {},
		"image volume":  {profile: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByImageVolume}},
		"all kinds": {change: func(pod *corev1.Pod) {
			app := pod.Spec.Containers[0]
			setup, side, other := app, app, app
			setup.Name, side.Name, side.RestartPolicy, other.Name = "setup", "side", &always, "other"
			pod.Spec.InitContainers = []corev1.Container{setup, side}
			pod.Spec.Containers = append(pod.Spec.Containers, other)
		}},
		"mounts of its own": {change: func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			for i, path := range []string{"/data", "/data/podinit", "/podinitx", "/.cache", "/var//lib/", "/a..b", "relative/"} {
				pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: path, SubPath: fmt.Sprint(i)})
			}
		}},
		"wrapped before": {change: func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "podinit", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			pod.Spec.Containers[0].Command = []string{"/podinit/init", "--", "true"}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit"}}
		}},
		"opted out":        {change: func(pod *corev1.Pod) { pod.Labels = map[string]string{v1alpha1.Inject: "disabled"} }, refused: "container app does not start /podinit/init"},
		"an init already":  {change: func(pod *corev1.Pod) { pod.Spec.Containers[0].Command = []string{"tini", "--", "true"} }, refused: "container app does not start /podinit/init"},
		"a name of others": {change: func(pod *corev1.Pod) { pod.Spec.Containers[0].Name = "istio-proxy" }, refused: "container istio-proxy does not start /podinit/init"},
	} {
		if c.profile.Delivery == v1alpha1.DeliverByImageVolume && !mountsImages(t) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			ns := namespace(t, demanding(optedIn()))
			annotate(t, ns, v1alpha1.ProfileAnnotation, profile(t, c.profile))
			pod := shellPod("app", "true")
			if c.change != nil {
				c.change(pod)
			}
			var made *corev1.Pod
			var err error
			for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
				made, err = client.CoreV1().Pods(ns).Create(t.Context(), pod, dryRun)
				if c.refused != "" || err == nil && (c.profile.Delivery == "" || strings.Contains(made.Annotations[v1alpha1.StatusAnnotation], string(c.profile.Delivery))) {
					break
				}
			}
			if c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("error %v; want one that says %q", err, c.refused)
			} else if c.refused == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// TestPolicyRefuses sends pods as podinit would have made them, with one thing that is not right, to a namespace where the
// policy holds and podinit is not asked: labels and annotations say what they please.
func TestPolicyRefuses(t *testing.T) {
	repository, image := initRepository(t)
	ns := namespace(t, demanding(nil))
	policy(t, ns, map[string]string{
		"initRepository": repository, "exempt": "[{'name': 'proxy', 'repository': 'r.example/proxy'}]",
	})
	base := func(t *testing.T, by v1alpha1.Delivery) *corev1.Pod {
		pod := shellPod("app", "/podinit/init", "--", "true")
		pod.Annotations = map[string]string{v1alpha1.StatusAnnotation: `{"v":1,"containers":{"app":{"action":"wrapped"}}}`}
		pod.Labels = map[string]string{v1alpha1.VersionLabel: "v1"}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit", ReadOnly: true}}
		pod.Spec.Volumes = []corev1.Volume{
			{Name: "podinit", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "mine", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "mine"}}}},
			{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}},
		}
		if by == v1alpha1.DeliveryImageVolume {
			pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}
			return pod
		}
		pod.Spec.InitContainers = []corev1.Container{{
			Name: "podinit-copy", Image: image, Command: []string{"/init", "copy", "/podinit/init"},
			VolumeMounts: []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit"}}, SecurityContext: pod.Spec.Containers[0].SecurityContext,
		}}
		return pod
	}
	app := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.Containers[0] }
	copier := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.InitContainers[0] }
	mount := func(c *corev1.Container, path, sub string) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "mine", MountPath: path, SubPath: sub})
	}
	neighbour := func(pod *corev1.Pod, name, image string, command ...string) *corev1.Container {
		c := corev1.Container{Name: name, Image: image, Command: command, SecurityContext: app(pod).SecurityContext}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		return &pod.Spec.Containers[len(pod.Spec.Containers)-1]
	}
	before := func(pod *corev1.Pod) *corev1.Container {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "before", Image: shellImage, SecurityContext: app(pod).SecurityContext})
		return &pod.Spec.InitContainers[len(pod.Spec.InitContainers)-1]
	}
	always := corev1.ContainerRestartPolicyAlways
	const (
		notStarted = "does not start /podinit/init"
		notMounted = "does not mount volume podinit"
		inTheWay   = "something of its own at, above or below"
		writable   = "could write to volume podinit"
		noVolume   = "volume podinit is neither"
		noCopier   = "there is no init container podinit-copy of image"
		another    = "does not run '/init copy /podinit/init'"
		over       = "podinit-copy mounts something else"
	)
	type attempt struct {
		change func(*corev1.Pod)
		want   string // "" for admitted
	}
	both := map[string]attempt{
		"as podinit makes it": {},
		"another program":     {func(pod *corev1.Pod) { app(pod).Command = []string{"true"} }, notStarted},
		"no command":          {func(pod *corev1.Pod) { app(pod).Command = nil }, notStarted},
		"init in args alone":  {func(pod *corev1.Pod) { app(pod).Command, app(pod).Args = nil, []string{"/podinit/init"} }, notStarted},
		"by another path":     {func(pod *corev1.Pod) { app(pod).Command[0] = "/podinit/../mine/init" }, notStarted},
		"a second container":  {func(pod *corev1.Pod) { neighbour(pod, "b", shellImage, "true") }, notStarted},
		"an exempt name":      {func(pod *corev1.Pod) { neighbour(pod, "proxy", shellImage, "true") }, notStarted},
		"an exempt image":     {func(pod *corev1.Pod) { neighbour(pod, "b", "r.example/proxy:1", "true") }, notStarted},
		"a similar image":     {func(pod *corev1.Pod) { neighbour(pod, "proxy", "r.example/proxy-mine:1", "true") }, notStarted},
		"exempt":              {func(pod *corev1.Pod) { neighbour(pod, "proxy", "r.example/proxy:1", "true") }, ""},
		"exempt by digest": {func(pod *corev1.Pod) {
			neighbour(pod, "proxy", "r.example/proxy@sha256:"+strings.Repeat("0", 64), "true")
		}, ""},
		"exempt, but it writes": {func(pod *corev1.Pod) {
			neighbour(pod, "proxy", "r.example/proxy:1", "true").VolumeMounts = []corev1.VolumeMount{{Name: "podinit", MountPath: "/x"}}
		}, writable},
		"no mount":           {func(pod *corev1.Pod) { app(pod).VolumeMounts = nil }, notMounted},
		"a mount of another": {func(pod *corev1.Pod) { app(pod).VolumeMounts[0].Name = "mine" }, notMounted},
		"elsewhere":          {func(pod *corev1.Pod) { app(pod).VolumeMounts[0].MountPath = "/elsewhere" }, notMounted},
		"writable":           {func(pod *corev1.Pod) { app(pod).VolumeMounts[0].ReadOnly = false }, notMounted},
		"a part of it":       {func(pod *corev1.Pod) { app(pod).VolumeMounts[0].SubPath = "mine" }, notMounted},
		"over the init":      {func(pod *corev1.Pod) { mount(app(pod), "/podinit/init", "init") }, inTheWay},
		"over the directory": {func(pod *corev1.Pod) { mount(app(pod), "/podinit/", "") }, inTheWay},
		"relative":           {func(pod *corev1.Pod) { mount(app(pod), "podinit/init", "init") }, inTheWay},
		"two slashes":        {func(pod *corev1.Pod) { mount(app(pod), "//podinit//init", "init") }, inTheWay},
		"a dot":              {func(pod *corev1.Pod) { mount(app(pod), "/./podinit/init", "init") }, inTheWay},
		"dots":               {func(pod *corev1.Pod) { mount(app(pod), "/x/../podinit/./init", "init") }, inTheWay},
		"relative dots":      {func(pod *corev1.Pod) { mount(app(pod), "x/../podinit/init", "init") }, inTheWay},
		"the root":           {func(pod *corev1.Pod) { mount(app(pod), "/", "") }, inTheWay},
		"the root by dots":   {func(pod *corev1.Pod) { mount(app(pod), "/x/..", "") }, inTheWay},
		"a device": {func(pod *corev1.Pod) {
			app(pod).VolumeDevices = []corev1.VolumeDevice{{Name: "disk", DevicePath: "/podinit/init"}}
		}, inTheWay},
		"a writable neighbour": {func(pod *corev1.Pod) {
			neighbour(pod, "b", shellImage, "/podinit/init", "--", "true").VolumeMounts = []corev1.VolumeMount{
				{Name: "podinit", MountPath: "/podinit", ReadOnly: true}, {Name: "podinit", MountPath: "/x"}}
		}, writable},
		"an init container writes": {func(pod *corev1.Pod) {
			before(pod).VolumeMounts = []corev1.VolumeMount{{Name: "podinit", MountPath: "/x", SubPath: "init"}}
		}, writable},
		"a sidecar writes": {func(pod *corev1.Pod) {
			c := before(pod)
			c.RestartPolicy, c.VolumeMounts = &always, []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit"}}
		}, writable},
		"a sidecar of its own": {func(pod *corev1.Pod) { before(pod).RestartPolicy = &always }, ""},
		"its own volume": {func(pod *corev1.Pod) {
			pod.Spec.Volumes[0].VolumeSource, pod.Spec.Volumes[1].Name = pod.Spec.Volumes[1].VolumeSource, "was"
		}, noVolume},
		"an annotation of a mirror pod": {func(pod *corev1.Pod) {
			pod.Annotations[corev1.MirrorPodAnnotationKey], app(pod).Command, pod.Spec.NodeName = "x", []string{"true"}, "podinit-node"
		}, notStarted},
		"as large as may be": {func(pod *corev1.Pod) {
			for i := range 999 {
				c := neighbour(pod, fmt.Sprintf("c%d", i), shellImage, "/podinit/init", "--", "true")
				c.SecurityContext, c.VolumeMounts = nil, app(pod).VolumeMounts
				for j := range 5 {
					mount(c, fmt.Sprintf("/var/lib/some/longer/path/%d", j), "")
				}
			}
		}, ""},
		"the last of many": {func(pod *corev1.Pod) {
			for i := range 999 {
				c := neighbour(pod, fmt.Sprintf("c%d", i), shellImage, "/podinit/init", "--", "true")
				c.SecurityContext, c.VolumeMounts = nil, app(pod).VolumeMounts
			}
			pod.Spec.Containers[999].Command[0] = "true"
		}, "container c998 does not start"},
		"none of many": {func(pod *corev1.Pod) {
			for i := range 999 {
				neighbour(pod, fmt.Sprintf("a-longer-name-%d", i), shellImage, "true").SecurityContext = nil
			}
		}, notStarted},
	}
	copied := map[string]attempt{
		"no copier":           {func(pod *corev1.Pod) { pod.Spec.InitContainers = nil }, noCopier},
		"another name":        {func(pod *corev1.Pod) { copier(pod).Name = "copy" }, writable},
		"another image":       {func(pod *corev1.Pod) { copier(pod).Image = "evil.example/init" }, noCopier},
		"a similar image":     {func(pod *corev1.Pod) { copier(pod).Image = strings.Trim(repository, "'") + "/mine:v1" }, noCopier},
		"an older init":       {func(pod *corev1.Pod) { copier(pod).Image = strings.Trim(repository, "'") + ":v0" }, ""},
		"another command":     {func(pod *corev1.Pod) { copier(pod).Command = []string{"/init", "--", "true"} }, another},
		"no command":          {func(pod *corev1.Pod) { copier(pod).Command = nil }, another},
		"args":                {func(pod *corev1.Pod) { copier(pod).Args = []string{"x"} }, another},
		"a sidecar":           {func(pod *corev1.Pod) { copier(pod).RestartPolicy = &always }, another},
		"over its program":    {func(pod *corev1.Pod) { mount(copier(pod), "/init", "init") }, over},
		"over it by dots":     {func(pod *corev1.Pod) { mount(copier(pod), "/x/../init", "init") }, over},
		"over it, relative":   {func(pod *corev1.Pod) { mount(copier(pod), "init", "init") }, over},
		"over the copier's /": {func(pod *corev1.Pod) { mount(copier(pod), "/", "") }, over},
		"over what it copies": {func(pod *corev1.Pod) { mount(copier(pod), "/podinit/init", "init") }, over},
		"over proc":           {func(pod *corev1.Pod) { mount(copier(pod), "/proc/self", "") }, over},
		"to another volume":   {func(pod *corev1.Pod) { copier(pod).VolumeMounts[0].Name = "mine" }, over},
		"to a part":           {func(pod *corev1.Pod) { copier(pod).VolumeMounts[0].SubPath = "x" }, over},
		"it mounts it twice": {func(pod *corev1.Pod) {
			copier(pod).VolumeMounts = append(copier(pod).VolumeMounts, corev1.VolumeMount{Name: "podinit", MountPath: "/x"})
		}, over},
		"the copier's token": {func(pod *corev1.Pod) { mount(copier(pod), "/var/run/secrets/kubernetes.io/serviceaccount", "") }, ""},
		"two volumes in one": {func(pod *corev1.Pod) {
			copier(pod).VolumeDevices = []corev1.VolumeDevice{{Name: "disk", DevicePath: "/init"}}
		}, over},
	}
	images := map[string]attempt{
		"another's image for a volume": {func(pod *corev1.Pod) {
			pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "evil.example/init:v1"}}
		}, noVolume},
		"a similar image for a volume": {func(pod *corev1.Pod) {
			pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: strings.Trim(repository, "'") + "-mine:v1"}}
		}, noVolume},
		"its image for a volume": {func(pod *corev1.Pod) {
			pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}
		}, ""},
	}
	all := map[v1alpha1.Delivery][]map[string]attempt{v1alpha1.DeliveryInitContainer: {both, copied}}
	if mountsImages(t) {
		all[v1alpha1.DeliveryInitContainer] = append(all[v1alpha1.DeliveryInitContainer], images)
		all[v1alpha1.DeliveryImageVolume] = []map[string]attempt{both, images}
	}
	for by, attempts := range all {
		for _, some := range attempts {
			for name, a := range some {
				t.Run(string(by)+"/"+name, func(t *testing.T) {
					pod := base(t, by)
					if a.change != nil {
						a.change(pod)
					}
					_, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, dryRun)
					switch {
					case a.want == "" && err != nil:
						t.Errorf("refused: %.1000v", err)
					case a.want != "" && (err == nil || !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), a.want)):
						t.Errorf("error %.1000v; want a refusal that says %q", err, a.want)
					}
				})
			}
		}
	}
}

// TestPolicyUpdates: what is there stays to be changed, but not into what the rule forbids.
func TestPolicyUpdates(t *testing.T) {
	repository, _ := initRepository(t)
	before := create(t, namespace(t, demanding(nil)), shellPod("before", "sleep", "60"))
	wrapped := create(t, namespace(t, demanding(optedIn())), shellPod("app", "sleep", "60"))
	policy(t, before.Namespace, map[string]string{"initRepository": repository, "sidecars": "true", "initContainers": "true"})
	read := func(pod *corev1.Pod) *corev1.Pod {
		t.Helper()
		now, err := client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	// The kubelet writes the pods, too: what it was faster than is written again.
	change := func(pod *corev1.Pod, with func(*corev1.Pod)) error {
		t.Helper()
		return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			now := read(pod)
			with(now)
			_, err := client.CoreV1().Pods(pod.Namespace).Update(t.Context(), now, metav1.UpdateOptions{})
			return err
		})
	}
	label := func(pod *corev1.Pod) { pod.Labels = map[string]string{"a": "b"} }
	for _, pod := range []*corev1.Pod{before, wrapped} {
		if err := change(pod, label); err != nil {
			t.Errorf("pod %s cannot be labelled: %v", pod.Name, err)
		}
	}
	if err := change(wrapped, func(pod *corev1.Pod) { pod.Spec.InitContainers[0].Image = "evil.example/init" }); err == nil || !strings.Contains(err.Error(), "there is no init container podinit-copy of image") {
		t.Errorf("the copier's image was changed: %v", err)
	}
	debug := func(mount corev1.VolumeMount) error {
		t.Helper()
		return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			now := read(wrapped)
			now.Spec.EphemeralContainers = append(now.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: fmt.Sprintf("debug-%d", len(now.Spec.EphemeralContainers)), Image: shellImage, Command: []string{"true"}, VolumeMounts: []corev1.VolumeMount{mount},
				TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullIfNotPresent,
			}})
			_, err := client.CoreV1().Pods(now.Namespace).UpdateEphemeralContainers(t.Context(), now.Name, now, metav1.UpdateOptions{})
			return err
		})
	}
	if err := debug(corev1.VolumeMount{Name: "podinit", MountPath: "/x"}); err == nil || !strings.Contains(err.Error(), "could write to volume podinit") {
		t.Errorf("an ephemeral container that could write: %v", err)
	}
	if err := debug(corev1.VolumeMount{Name: "podinit", MountPath: "/x", ReadOnly: true}); err != nil {
		t.Errorf("an ephemeral container that could not write: %v", err)
	}
	for name, restart := range map[string]*corev1.ContainerRestartPolicy{"setup": nil, "side": new(corev1.ContainerRestartPolicyAlways)} {
		pod := shellPod("app", "true")
		c := pod.Spec.Containers[0]
		c.Name, c.RestartPolicy = name, restart
		pod.Spec.InitContainers = []corev1.Container{c}
		if _, err := client.CoreV1().Pods(wrapped.Namespace).Create(t.Context(), pod, dryRun); err == nil || !strings.Contains(err.Error(), "container "+name+" does not start") {
			t.Errorf("%s, which is demanded: %v", name, err)
		}
	}
}
