package explain

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

// workload is what people would change to change a pod: its owner's owner, where a pod or its Jobs show it.
type workload struct{ namespace, kind, name string }

func (w workload) String() string { return strings.ToLower(w.kind) + "/" + w.name }

// owners are labels that ReplicaSets' owners put on pods, whose value the ReplicaSet's name ends with, and those owners' kinds.
// The Deployment controller (getNewReplicaSet in sync.go) and Argo Rollouts name ReplicaSets so.
var owners = []struct{ label, kind string }{
	{"rollouts-pod-template-hash", "Rollout"},
	{"pod-template-hash", "Deployment"},
}

// workloadOf is a pod's workload, without asking for its ReplicaSet. A Job may yet be a CronJob's.
func workloadOf(pod *corev1.Pod) workload {
	reference := metav1.GetControllerOf(pod)
	if reference == nil && len(pod.OwnerReferences) > 0 {
		reference = &pod.OwnerReferences[0]
	}
	if reference == nil || reference.Kind == "Node" { // a static pod's node
		return workload{pod.Namespace, "Pod", pod.Name}
	}
	w := workload{pod.Namespace, reference.Kind, reference.Name}
	if w.kind == "ReplicaSet" {
		for _, owner := range owners {
			if name, ok := strings.CutSuffix(w.name, "-"+pod.Labels[owner.label]); ok && pod.Labels[owner.label] != "" {
				return workload{w.namespace, owner.kind, name}
			}
		}
	}
	return w
}

// alike are pods of one workload that are decided about alike.
type alike struct {
	workload workload
	// pods that run, or are to; those that have ended do not count.
	pods int
	// pod is one of them, in JSON.
	pod []byte
}

// collection groups pods that it is shown one after the other. What it holds is bounded by how many differ.
type collection struct {
	groups map[[sha256.Size]byte]*alike
	// inOrder has the groups as they were first seen, ofJobs those that Jobs have made.
	inOrder []*alike
	ofJobs  map[workload][]*alike
	// pods that were counted.
	pods int
}

// add takes a pod in. Pods that are being deleted are left out, and those that have ended unless a Job made them: its CronJob
// makes more.
func (c *collection) add(pod *corev1.Pod) error {
	w := workloadOf(pod)
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if pod.DeletionTimestamp != nil || ended && w.kind != "Job" {
		return nil
	}
	key, err := fingerprint(w, pod)
	if err != nil {
		return err
	}
	group := c.groups[key]
	if group == nil {
		one := pod.DeepCopy()
		one.APIVersion, one.Kind = "v1", "Pod" // a list leaves them out
		one.ManagedFields, one.Status = nil, corev1.PodStatus{}
		text, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		group = &alike{workload: w, pod: text}
		if c.groups == nil {
			c.groups = map[[sha256.Size]byte]*alike{}
		}
		c.groups[key] = group
		c.inOrder = append(c.inOrder, group)
		if w.kind == "Job" {
			if c.ofJobs == nil {
				c.ofJobs = map[workload][]*alike{}
			}
			c.ofJobs[w] = append(c.ofJobs[w], group)
		}
	}
	if !ended {
		group.pods++
		c.pods++
	}
	return nil
}

// hasJobs says whether Jobs have to be read to know whose they are.
func (c *collection) hasJobs() bool { return len(c.ofJobs) > 0 }

// job says whose a Job is.
func (c *collection) job(job *batchv1.Job) {
	owner := metav1.GetControllerOf(job)
	if owner == nil {
		return
	}
	for _, group := range c.ofJobs[workload{job.Namespace, "Job", job.Name}] {
		group.workload = workload{job.Namespace, owner.Kind, owner.Name}
	}
}

// workloads are the groups, without Jobs of which nothing runs any more.
func (c *collection) workloads() (all []*alike) {
	for _, group := range c.inOrder {
		if group.pods > 0 || group.workload.kind != "Job" {
			all = append(all, group)
		}
	}
	return all
}

// fingerprint is the same for pods of a workload that admission decides about alike: it leaves out what the apiserver, the
// scheduler and controllers write differently into each pod of a template.
func fingerprint(w workload, pod *corev1.Pod) (key [sha256.Size]byte, err error) {
	spec := pod.Spec.DeepCopy()
	spec.NodeName, spec.Hostname = "", ""
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		for i := range terms {
			terms[i].MatchFields = nil // the node that a DaemonSet's pod is for
		}
	}
	const token = "kube-api-access-" // and five characters at random, by the apiserver
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; strings.HasPrefix(v.Name, token) {
			v.Name = token
		} else if v.PersistentVolumeClaim != nil { // a StatefulSet's
			v.PersistentVolumeClaim.ClaimName = ""
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				if m := &list[i].VolumeMounts[j]; strings.HasPrefix(m.Name, token) {
					m.Name = token
				}
			}
		}
	}
	spec.EphemeralContainers = nil
	relevant := func(all map[string]string) map[string]string {
		some := map[string]string{}
		for k, v := range all {
			for _, prefix := range decisive {
				if strings.HasPrefix(k, prefix) {
					some[k] = v
				}
			}
		}
		return some
	}
	var made []string // by which kinds: exclude.owners goes by them
	for _, o := range pod.OwnerReferences {
		made = append(made, o.APIVersion+" "+o.Kind)
	}
	text, err := json.Marshal([]any{w.namespace, w.kind, w.name, made, relevant(pod.Labels), relevant(pod.Annotations), spec})
	if err != nil {
		return key, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return sha256.Sum256(text), nil
}

// decisive are beginnings of labels and annotations that admission decides by.
var decisive = []string{v1alpha1.Group + "/", "container.apparmor.security.beta.kubernetes.io/", corev1.MirrorPodAnnotationKey,
	"kubevirt.io", "tekton.dev/"}
