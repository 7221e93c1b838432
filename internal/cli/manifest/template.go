package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/podinit/podinit/internal/rawjson"
)

// Object names what a manifest describes.
type Object struct {
	APIVersion, Kind, Namespace, Name string
}

// String is what kubectl calls it: kind/name.
func (o Object) String() string {
	name := o.Name
	if name == "" {
		name = "(no name)"
	}
	return strings.ToLower(o.Kind) + "/" + name
}

// Controlled is an object of a kind whose controller makes Pods of something that is not a pod template.
type Controlled struct {
	Object
	// Controller is the name of the product that makes the Pods.
	Controller string
}

// Template is what Pods are made of.
type Template struct {
	// Object that has it.
	Object Object
	// At is where in the object it is, as a JSON path without the dollar; empty for a Pod.
	At string
	// Pod is the JSON of a Pod that is made of it, without what the cluster adds. Metadata are there in any case.
	Pod []byte

	path []string // in the document: names of members, and indices
}

// Mistyped adds to an error about the type of a value what YAML makes of words without quotes.
func Mistyped(err error) error {
	var raw *rawjson.Error
	var typed *json.UnmarshalTypeError
	if !errors.As(err, &raw) && !errors.As(err, &typed) {
		return err
	}
	return fmt.Errorf("%w. Where a string is required, quote words that YAML reads as other types: yes, no, on, off, y, n, true, null and "+
		"numbers", err)
}

// paths are where kinds have their pod templates, by group and kind; * is every member or element. They are kinds whose
// controllers make Pods of their templates as they are.
var paths = map[string][]string{
	"/Pod":                   {""},
	"/PodTemplate":           {"template"},
	"/ReplicationController": {"spec.template"},
	"apps/DaemonSet":         {"spec.template"},
	"apps/Deployment":        {"spec.template"},
	"apps/ReplicaSet":        {"spec.template"},
	"apps/StatefulSet":       {"spec.template"},
	"extensions/DaemonSet":   {"spec.template"},
	"extensions/Deployment":  {"spec.template"},
	"extensions/ReplicaSet":  {"spec.template"},
	"batch/CronJob":          {"spec.jobTemplate.spec.template"},
	"batch/Job":              {"spec.template"},

	"apps.openshift.io/DeploymentConfig":       {"spec.template"},
	"argoproj.io/Rollout":                      {"spec.template"},
	"jobset.x-k8s.io/JobSet":                   {"spec.replicatedJobs.*.template.spec.template"},
	"keda.sh/ScaledJob":                        {"spec.jobTargetRef.template"},
	"leaderworkerset.x-k8s.io/LeaderWorkerSet": {"spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"},
}

// controllers make Pods of these, by group and kind: of steps and images, with containers of their own around them.
var controllers = map[string]string{
	"argoproj.io/ClusterWorkflowTemplate": "Argo Workflows",
	"argoproj.io/CronWorkflow":            "Argo Workflows",
	"argoproj.io/Workflow":                "Argo Workflows",
	"argoproj.io/WorkflowTemplate":        "Argo Workflows",
	"tekton.dev/ClusterTask":              "Tekton",
	"tekton.dev/Pipeline":                 "Tekton",
	"tekton.dev/PipelineRun":              "Tekton",
	"tekton.dev/Task":                     "Tekton",
	"tekton.dev/TaskRun":                  "Tekton",
}

// find collects the templates of an object, and of those in a list; in is the list that it is in, if it is.
func (d *Document) find(v value, path []string, in Object) {
	const someDepth = 8
	o := Object{
		APIVersion: v.at("apiVersion").text(), Kind: v.at("kind").text(),
		Namespace: v.at("metadata", "namespace").text(), Name: v.at("metadata", "name").text(),
	}
	if o.Kind == "" && strings.HasSuffix(in.Kind, "List") { // as in a DeploymentList
		o.APIVersion, o.Kind = in.APIVersion, strings.TrimSuffix(in.Kind, "List")
	}
	if o.Name == "" {
		o.Name = v.at("metadata", "generateName").text()
	}
	items, isList := v.get("items")
	if isList = isList && strings.HasSuffix(o.Kind, "List") && items.kind == '['; isList && len(path) < someDepth {
		for i, item := range items.elements {
			d.find(item, append(path[:len(path):len(path)], "items", strconv.Itoa(i)), o)
		}
		return
	}
	group, _, hasGroup := strings.Cut(o.APIVersion, "/")
	if !hasGroup {
		group = ""
	}
	if controller, ok := controllers[group+"/"+o.Kind]; ok {
		d.Controlled = append(d.Controlled, Controlled{Object: o, Controller: controller})
		return
	}
	known, ok := paths[group+"/"+o.Kind]
	if !ok {
		if o.Kind != "" && o.Kind != "CustomResourceDefinition" && looksLikePods(v, someDepth) {
			d.Unknown = append(d.Unknown, o)
		}
		return
	}
	for _, where := range known {
		var steps []string
		if where != "" {
			steps = strings.Split(where, ".")
		}
		d.collect(o, v, steps, path, "")
	}
}

// collect follows the steps to every template.
func (d *Document) collect(o Object, v value, steps, path []string, at string) {
	path = path[:len(path):len(path)]
	if len(steps) == 0 {
		if v.kind == '{' && v.at("spec").kind == '{' {
			pod := v
			if pod.at("metadata").null() {
				pod = pod.with("metadata", value{kind: '{'})
			}
			d.Templates = append(d.Templates, Template{Object: o, At: at, Pod: pod.json(), path: path})
		}
		return
	}
	if steps[0] == "*" {
		for i, element := range v.elements {
			name := strconv.Itoa(i)
			if v.kind == '{' {
				name = v.keys[i]
			}
			d.collect(o, element, steps[1:], append(path, name), at+"["+name+"]")
		}
		return
	}
	if member, ok := v.get(steps[0]); ok {
		d.collect(o, member, steps[1:], append(path, steps[0]), strings.TrimPrefix(at+"."+steps[0], "."))
	}
}

// looksLikePods says whether something in a value has a spec with containers, as Pods have.
func looksLikePods(v value, depth int) bool {
	if containers := v.at("spec", "containers"); containers.kind == '[' && len(containers.elements) > 0 &&
		!containers.elements[0].at("image").null() {
		return true
	}
	if depth == 0 {
		return false
	}
	for _, element := range v.elements {
		if element.kind != 0 && looksLikePods(element, depth-1) {
			return true
		}
	}
	return false
}

// put is a document's value with another Pod in the template's place. Metadata that say nothing are not put there, but stay
// where they are.
func (t Template) put(root, pod value) (value, error) {
	had, ok := lookup(root, t.path)
	if !ok {
		return value{}, errors.New("the template is not in this document")
	}
	if meta, ok := pod.get("metadata"); ok && len(meta.elements) == 0 {
		if original, ok := had.get("metadata"); ok && len(original.elements) == 0 {
			pod = pod.with("metadata", original)
		} else {
			pod = pod.without("metadata")
		}
	}
	return set(root, t.path, pod), nil
}

func lookup(v value, path []string) (value, bool) {
	for _, step := range path {
		i, ok := v.index(step)
		if !ok {
			return value{}, false
		}
		v = v.elements[i]
	}
	return v, true
}

// set is a copy of a value that has something else at a path, which is there.
func set(v value, path []string, to value) value {
	if len(path) == 0 {
		return to
	}
	i, ok := v.index(path[0])
	if !ok {
		return v
	}
	changed := v
	changed.elements = append([]value(nil), v.elements...)
	changed.elements[i] = set(v.elements[i], path[1:], to)
	return changed
}

// index is which element a step of a path means.
func (v value) index(step string) (int, bool) {
	if v.kind == '[' {
		i, err := strconv.Atoi(step)
		return i, err == nil && i >= 0 && i < len(v.elements)
	}
	for i, key := range v.keys {
		if key == step {
			return i, true
		}
	}
	return 0, false
}

// without is a copy without a member.
func (v value) without(key string) value {
	changed := value{kind: v.kind}
	for i, k := range v.keys {
		if k != key {
			changed.keys, changed.elements = append(changed.keys, k), append(changed.elements, v.elements[i])
		}
	}
	return changed
}
