package webhook_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
	kjson "sigs.k8s.io/json"
)

// refusals are reasons for which the apiserver would refuse a Pod, of those that a patch of ours could give it. Its own
// validation is in no library, so this repeats what matters here (kubernetes, pkg/apis/core/validation).
func refusals(object []byte) (problems []string) {
	var pod corev1.Pod
	strict, err := kjson.UnmarshalStrict(object, &pod)
	if err != nil {
		return []string{err.Error()}
	}
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, err := range strict {
		report("%v", err)
	}
	for _, err := range apivalidation.ValidateAnnotations(pod.Annotations, field.NewPath("annotations")) {
		report("%v", err)
	}
	for _, err := range metav1validation.ValidateLabels(pod.Labels, field.NewPath("labels")) {
		report("%v", err)
	}

	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Spec.Volumes {
		if _, twice := volumes[v.Name]; twice || len(validation.IsDNS1123Label(v.Name)) > 0 {
			report("volume %q: twice, or no name", v.Name)
		}
		volumes[v.Name] = v
		if v.EmptyDir != nil && v.Image != nil {
			report("volume %q: two sources", v.Name)
		}
		if v.Image != nil && v.Image.Reference == "" {
			report("volume %q: no image", v.Name)
		}
	}

	names := map[string]bool{}
	for i, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		if names[c.Name] || len(validation.IsDNS1123Label(c.Name)) > 0 {
			report("container %q: twice, or no name", c.Name)
		}
		names[c.Name] = true
		for _, problem := range containerRefusals(c, volumes) {
			report("container %q: %s", c.Name, problem)
		}
		regular := i >= len(pod.Spec.InitContainers)
		restarts := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if !regular && !restarts && (c.Lifecycle != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil) {
			report("container %q: probes or lifecycle, and it is not restarted", c.Name)
		}
	}
	if len(pod.Spec.Containers) == 0 {
		report("no containers")
	}

	if r := pod.Spec.Resources; r != nil {
		for name, have := range resourcehelper.AggregateContainerRequests(&pod, resourcehelper.PodResourcesOptions{}) {
			if most, ok := r.Requests[name]; ok && have.Cmp(most) > 0 {
				report("requests: %s of the containers is more than the pod's", name)
			}
		}
		for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
			for name, limit := range c.Resources.Limits {
				if most, ok := r.Limits[name]; ok && limit.Cmp(most) > 0 {
					report("limits: %s of container %q is more than the pod's", name, c.Name)
				}
			}
		}
	}
	return problems
}

func containerRefusals(c corev1.Container, volumes map[string]corev1.Volume) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if strings.TrimSpace(c.Image) == "" {
		report("no image")
	}
	switch c.ImagePullPolicy {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		report("pull policy %q", c.ImagePullPolicy)
	}
	switch c.TerminationMessagePolicy {
	case "", corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError:
	default:
		report("termination message policy %q", c.TerminationMessagePolicy)
	}
	paths := map[string]bool{}
	for _, m := range c.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			report("mounts volume %q, which is not there", m.Name)
		}
		if m.MountPath == "" || paths[m.MountPath] {
			report("mount path %q: twice, or empty", m.MountPath)
		}
		paths[m.MountPath] = true
	}
	for name, request := range c.Resources.Requests {
		if limit, ok := c.Resources.Limits[name]; ok && request.Cmp(limit) > 0 || request.Sign() < 0 {
			report("request of %s above its limit, or negative", name)
		}
	}
	if sc := c.SecurityContext; sc != nil {
		if escalates := sc.AllowPrivilegeEscalation; escalates != nil && !*escalates && sc.Privileged != nil && *sc.Privileged {
			report("privileged, and no privilege escalation")
		}
		if p := sc.SeccompProfile; p != nil && (p.Type == corev1.SeccompProfileTypeLocalhost) != (p.LocalhostProfile != nil) {
			report("seccomp profile %q", p.Type)
		}
		if p := sc.AppArmorProfile; p != nil && (p.Type == corev1.AppArmorProfileTypeLocalhost) != (p.LocalhostProfile != nil) {
			report("AppArmor profile %q", p.Type)
		}
	}
	return problems
}

// What is looked for is found.
func TestRefusals(t *testing.T) {
	const good = `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"x","volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","emptyDir":{}}]}}`
	if got := refusals([]byte(good)); len(got) > 0 {
		t.Errorf("a good pod: %q", got)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"name":"a"`, `"annotations":{"a b":"c"}`, "annotations"},
		{`"name":"a"`, `"labels":{"a":"b+c"}`, "labels"},
		{`"image":"x"`, `"image":"x","command":"y"`, "cannot unmarshal"},
		{`"image":"x"`, `"image":"x","comand":["y"]`, "comand"},
		{`"image":"x"`, `"image":"x","image":"y"`, "duplicate"},
		{`"image":"x"`, `"image":""`, "no image"},
		{`"image":"x"`, `"image":"x","imagePullPolicy":"Maybe"`, "pull policy"},
		{`"image":"x"`, `"image":"x","terminationMessagePolicy":"Logs"`, "termination message"},
		{`"image":"x"`, `"image":"x","resources":{"requests":{"cpu":2},"limits":{"cpu":1}}`, "above its limit"},
		{`"image":"x"`, `"image":"x","securityContext":{"privileged":true,"allowPrivilegeEscalation":false}`, "privileged"},
		{`"image":"x"`, `"image":"x","securityContext":{"seccompProfile":{"type":"Localhost"}}`, "seccomp"},
		{`"mountPath":"/v"}`, `"mountPath":"/v"},{"name":"v","mountPath":"/v"}`, "mount path"},
		{`{"name":"v","mountPath"`, `{"name":"w","mountPath"`, "not there"},
		{`"emptyDir":{}`, `"emptyDir":{},"image":{"reference":"x"}`, "two sources"},
		{`{"name":"v","emptyDir":{}}`, `{"name":"v","emptyDir":{}},{"name":"v"}`, "twice"},
		{`"containers"`, `"initContainers":[{"name":"a","image":"x"}],"containers"`, "twice"},
		{`"containers"`, `"initContainers":[{"name":"i","image":"x","livenessProbe":{}}],"containers"`, "not restarted"},
		{`"containers"`, `"resources":{"requests":{"cpu":1}},"initContainers":[{"name":"i","image":"x","resources":{"requests":{"cpu":2}}}],"containers"`, "requests"},
		{`"containers"`, `"resources":{"limits":{"cpu":1}},"initContainers":[{"name":"i","image":"x","resources":{"limits":{"cpu":2}}}],"containers"`, "limits"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if got := refusals([]byte(bad)); !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", bad, got, c.want)
		}
	}
}
