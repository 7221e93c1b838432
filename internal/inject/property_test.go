package inject_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var pods = flag.Int("pods", 3000, "how many pods the property test generates")

// TestProperties holds every promise for generated pods: besides those of the golden cases, that nothing but what is
// ours has changed, down to fields and values that no version of Kubernetes knows.
func TestProperties(t *testing.T) {
	wrapped := 0
	for seed := range *pods {
		pod := generate(rand.New(rand.NewPCG(uint64(seed), 0)))
		raw, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		once, err := mutate(raw, selected)
		if err != nil {
			t.Fatalf("pod %d: %v\n%s", seed, err, raw)
		}
		if bytes.Contains(once.patch, []byte(`"/podinit/init"`)) {
			wrapped++
		}
		checkPromises(t, raw, selected, once)
		if diff := cmp.Diff(decode(t, raw), stripped(decode(t, once.pod))); diff != "" {
			t.Errorf("something that is not ours changed (-before +after):\n%s", diff)
		}
		if t.Failed() {
			t.Fatalf("pod %d: %s\nbecame: %s", seed, raw, once.pod)
		}
	}
	if wrapped < *pods/4 {
		t.Errorf("only %d of %d generated pods were wrapped: the generator has lost its use", wrapped, *pods)
	}
}

type object = map[string]any

// decode keeps numbers as they were written.
func decode(t *testing.T, raw []byte) object {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

// stripped takes what is ours out of a pod that had none of it before. An object or list that is then empty goes too.
func stripped(pod object) object {
	metadata, spec := pod["metadata"].(object), pod["spec"].(object)
	without(metadata, "labels", "podinit.dev/version")
	without(metadata, "annotations", "podinit.dev/status")
	without(metadata, "annotations", "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes")
	dropNamed(spec, "initContainers", "podinit-copy")
	dropNamed(spec, "volumes", "podinit")
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		c := c.(object)
		dropNamed(c, "volumeMounts", "podinit")
		command, _ := c["command"].([]any)
		if len(command) > 0 && command[0] == "/podinit/init" {
			for i, word := range command {
				if word == "--" {
					c["command"] = command[i+1:]
					break
				}
			}
		}
	}
	return pod
}

func without(o object, member, key string) {
	if m, ok := o[member].(object); ok {
		if delete(m, key); len(m) == 0 {
			delete(o, member)
		}
	}
}

func dropNamed(o object, member, name string) {
	list, _ := o[member].([]any)
	var kept []any
	for _, element := range list {
		if element.(object)["name"] != name {
			kept = append(kept, element)
		}
	}
	if o[member] = kept; len(kept) == 0 {
		delete(o, member)
	}
}

// generate makes a pod that an apiserver could have sent, with something unusual in most places sometimes.
func generate(r *rand.Rand) object {
	maybe := func(percent int) bool { return r.IntN(100) < percent }
	metadata := object{"generateName": "pod-"}
	if maybe(30) {
		metadata["labels"] = object{"app/kubernetes.io~name": "x", "app": "y"}
	}
	if maybe(30) {
		metadata["annotations"] = object{"note": "<&>\u2028\"\\", "a~b/c": ""}
	}
	spec := object{}
	future := func(o object) {
		if maybe(20) {
			o["future"] = object{"deep": []any{json.Number("1.50"), json.Number("12345678901234567890"), nil, "ü$"}}
		}
	}
	future(metadata)
	future(spec)
	if maybe(20) {
		spec["terminationGracePeriodSeconds"] = one(r, 0, 1, 45, 86400)
	}
	if maybe(30) {
		sc := object{}
		if maybe(50) {
			sc["runAsUser"] = one(r, 0, 1000)
		}
		if maybe(50) {
			sc["seccompProfile"] = object{"type": one(r, "RuntimeDefault", "Unconfined", "Localhost")}
		}
		if maybe(50) {
			sc["runAsNonRoot"] = sc["runAsUser"] != 0
		}
		spec["securityContext"] = sc
	}
	if maybe(3) {
		spec["hostPID"] = true
	}
	kind := r.IntN(4) // guaranteed, burstable, best effort, pod-level
	if kind == 3 {
		spec["resources"] = object{"requests": object{"cpu": "2", "memory": "2Gi"}, "limits": object{"cpu": "2", "memory": "2Gi"}}
	}
	container := func(prefix string, i int) object {
		c := object{"name": fmt.Sprintf("%s%d", prefix, i), "image": "r/app:1"}
		if maybe(85) {
			c["command"] = one(r, []any{"app"}, []any{"/bin/sh", "-c", "exec $(APP) $$HOME -- <&>"}, []any{"/sbin/tini", "--", "app"}, []any{"--", "app"}, []any{""})
		}
		if maybe(30) {
			c["args"] = []any{"$(ARG)", "--"}
		}
		requests, limits := object{}, object{}
		for _, name := range []string{"cpu", "memory", "ephemeral-storage", "example.com/device"} {
			q := map[string][]any{
				"cpu": {"500m", 1, json.Number("0.25")}, "memory": {"64Mi", "1Gi", 134217728, "8Mi"},
				"ephemeral-storage": {"1Gi"}, "example.com/device": {1},
			}[name]
			value := q[r.IntN(len(q))]
			switch {
			case kind == 0 && (name == "cpu" || name == "memory"), name == "example.com/device" && maybe(10):
				requests[name], limits[name] = value, value
			case kind == 1 && maybe(40):
				requests[name] = value
				if maybe(40) {
					limits[name] = value
				}
			}
		}
		res := object{}
		if len(requests) > 0 {
			res["requests"] = requests
		}
		if len(limits) > 0 {
			res["limits"] = limits
		}
		if len(res) > 0 || maybe(30) {
			future(res)
			c["resources"] = res
		}
		if maybe(40) {
			c["volumeMounts"] = []any{object{"name": "data", "mountPath": one(r, "/data", "/", "/podinit", "/podinit/x", "/podinitx")}}
		}
		if maybe(20) {
			c["lifecycle"] = object{"stopSignal": one(r, "SIGQUIT", "SIGRTMIN+3", "SIGTERM")}
		}
		if maybe(20) {
			c["livenessProbe"] = object{"terminationGracePeriodSeconds": one(r, 1, 600)}
		}
		if maybe(20) {
			c["terminationMessagePolicy"] = one(r, "File", "FallbackToLogsOnError")
			c["terminationMessagePath"] = one(r, "/dev/termination-log", "/tmp/$(X)")
		}
		if maybe(20) {
			c["securityContext"] = object{
				"allowPrivilegeEscalation": false, "capabilities": object{"drop": []any{"ALL"}}, "runAsNonRoot": true,
				"seccompProfile": object{"type": one(r, "RuntimeDefault", "Localhost")},
			}
		}
		future(c)
		return c
	}
	list := func(prefix string, n int) []any {
		var containers []any
		for i := range n {
			containers = append(containers, container(prefix, i))
		}
		return containers
	}
	spec["containers"] = list("app", 1+r.IntN(4))
	if maybe(40) {
		spec["initContainers"] = list("setup", 1+r.IntN(2))
		if maybe(50) {
			spec["initContainers"].([]any)[0].(object)["restartPolicy"] = "Always"
		}
	}
	if maybe(60) {
		spec["volumes"] = []any{object{"name": "data", "emptyDir": object{}}}
	}
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
