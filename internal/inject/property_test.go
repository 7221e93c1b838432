package inject_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

var pods = flag.Int("pods", 3000, "how many pods the property test generates")

// TestProperties holds every promise for generated pods in generated settings: besides those of the golden cases, that
// nothing but what is ours has changed, down to fields and values that no version of Kubernetes knows.
func TestProperties(t *testing.T) {
	const shards = 4
	var wrapped atomic.Int64
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < *pods; seed += shards {
					if checkGenerated(t, uint64(seed)) {
						wrapped.Add(1)
					}
				}
			})
		}
	})
	if n := wrapped.Load(); n < int64(*pods)/4 {
		t.Errorf("only %d of %d generated pods were wrapped: the generator has lost its use", n, *pods)
	}
}

// checkGenerated checks one pod, and says whether it was wrapped.
func checkGenerated(t *testing.T, seed uint64) (wrapped bool) {
	r := rand.New(rand.NewPCG(seed, 0))
	pod, setting := generate(r), generateSetting(t, r)
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	once, err := mutate(raw, setting)
	if err != nil {
		t.Fatalf("pod %d: %v\n%s", seed, err, raw)
	}
	checkPromises(t, raw, setting, once)
	before := decode(t, raw)
	if diff := cmp.Diff(before, stripped(before, decode(t, once.pod))); diff != "" {
		t.Errorf("something that is not ours changed (-before +after):\n%s", diff)
	}
	if t.Failed() {
		t.Fatalf("pod %d: %s\nprofile %q, image volumes %v\nbecame: %s", seed, raw, setting.Profile.Name(), setting.ImageVolumes, once.pod)
	}
	return bytes.Contains(once.patch, []byte(`"/podinit/init"`))
}

// generateSetting makes a profile and a cluster that an installation could have; the profile's name tells all of it.
func generateSetting(t *testing.T, r *rand.Rand) inject.Setting {
	setting := selected
	setting.ImageVolumes = one(r, inject.ImageVolumes{},
		inject.ImageVolumes{Verdict: v1alpha1.ReasonEveryNodeCan, VerdictInUserNamespaces: v1alpha1.ReasonUserNamespaceTooOld})
	if r.IntN(3) == 0 {
		return setting
	}
	spec := v1alpha1.InitProfileSpec{
		Containers: v1alpha1.ContainersSpec{Sidecars: r.IntN(2) == 0, InitContainers: r.IntN(2) == 0, Exclude: one(r, nil, []string{}, []string{"app1"})},
		Init: v1alpha1.InitSpec{
			SignalTarget: one(r, "", v1alpha1.SignalTargetAuto, v1alpha1.SignalTargetAll), Wait: one(r, "", v1alpha1.WaitAll),
			RewriteSignals: one(r, nil, []string{"TERM:QUIT", "SIGHUP:0"}), RemapExitCodes: one(r, nil, []int32{143}),
			Linger: one(r, nil, &metav1.Duration{Duration: 1500 * time.Millisecond}), Grace: one(r, "", "FromPod", "90s"), Verbosity: one[int32](r, 0, 1, 2),
		},
		LocalhostProfiles: r.IntN(2) == 0,
		Delivery:          one(r, "", v1alpha1.DeliverByInitContainer, v1alpha1.DeliverByImageVolume, v1alpha1.DeliverAuto),
		Entrypoints: one(r, nil, []v1alpha1.ImageEntrypoint{
			{Image: "r/app:*", Entrypoint: one(r, nil, []string{"/entry", "$HOME"}), Cmd: []string{"$$", "<&>"}},
		}),
	}
	name, err := json.Marshal(spec)
	if err == nil {
		setting.Profile, err = inject.NewProfile(string(name), spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	return setting
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
func stripped(before, pod object) object {
	metadata, spec := pod["metadata"].(object), pod["spec"].(object)
	without(metadata, "labels", "podinit.dev/version")
	without(metadata, "annotations", "podinit.dev/status")
	without(metadata, "annotations", "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes")
	dropNamed(spec, "initContainers", "podinit-copy")
	dropNamed(spec, "volumes", "podinit")
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := spec[list].([]any)
		for i, c := range containers {
			unwrapped(before["spec"].(object)[list].([]any)[i].(object), c.(object))
		}
	}
	return pod
}

// unwrapped takes the init out of a container, and what its image says where that is where the command came from.
func unwrapped(before, c object) {
	dropNamed(c, "volumeMounts", "podinit")
	command, _ := c["command"].([]any)
	if len(command) == 0 || command[0] != "/podinit/init" {
		return
	}
	if before["command"] == nil {
		delete(c, "command")
		if before["args"] == nil {
			delete(c, "args")
		}
		return
	}
	c["command"] = command[slices.Index(command, any("--"))+1:]
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

// generate makes a pod that is valid, but for fields of the future, with something unusual in most places sometimes.
func generate(r *rand.Rand) object {
	maybe := func(percent int) bool { return r.IntN(100) < percent }
	metadata := object{"generateName": "pod-"}
	if maybe(30) {
		metadata["labels"] = object{"app.kubernetes.io/name": "x", "app": "y"}
	}
	annotations := object{}
	annotate := func(percent int, key string, value string) {
		if maybe(percent) {
			annotations[key] = value
		}
	}
	annotate(30, "note", "<&>\u2028\"\\")
	annotate(30, "example.com/empty", "")
	annotate(10, "podinit.dev/inject", one(r, "enabled", "yes"))
	annotate(10, "podinit.dev/containers", one(r, "app0,setup0", "app1, nobody", ","))
	annotate(10, "podinit.dev/skip-containers", one(r, "app0", "setup0,app2"))
	annotate(10, "podinit.dev/flags.app0", one(r, "-v --rewrite=TERM:INT", "--grace 7s", "--nonsense", "--termination-message=/$(X)"))
	annotate(10, "podinit.dev/entrypoint.app1", one(r, `["/bin/sh","-c","$(X) $$"]`, `nonsense`, `["/sbin/init"]`))
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
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
			sc["seccompProfile"] = one(r, object{"type": "RuntimeDefault"}, object{"type": "Unconfined"}, object{"type": "Localhost", "localhostProfile": "x"})
		}
		if maybe(20) {
			sc["seLinuxOptions"] = object{"level": "s0:c1,c2"}
		}
		if maybe(50) {
			sc["runAsNonRoot"] = sc["runAsUser"] != 0
		}
		spec["securityContext"] = sc
	}
	switch {
	case maybe(3):
		spec["hostPID"] = true
	case maybe(10):
		spec["shareProcessNamespace"] = true
	case maybe(10):
		spec["hostUsers"] = maybe(50)
	}
	if maybe(3) {
		spec["runtimeClassName"] = one(r, "wasmtime", "gvisor")
	}
	if maybe(10) {
		spec["os"] = object{"name": "linux"}
	}
	kind := r.IntN(4) // guaranteed, burstable, best effort, pod-level
	if kind == 3 {
		spec["resources"] = object{"requests": object{"cpu": "2", "memory": "2Gi"}, "limits": object{"cpu": "2", "memory": "2Gi"}}
	}
	mounted := false
	container := func(prefix string, i int) object {
		c := object{"name": fmt.Sprintf("%s%d", prefix, i), "image": "r/app:1"}
		if maybe(85) {
			c["command"] = one(r, []any{"app"}, []any{"/bin/sh", "-c", "exec $(APP) $$HOME -- <&>"}, []any{"/sbin/tini", "--", "app"}, []any{"--", "app"}, []any{""})
		}
		if maybe(30) {
			c["args"] = one(r, []any{"$(ARG)", "--"}, []any{"/sbin/init"})
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
			case kind == 1 && name != "example.com/device" && maybe(40):
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
			mounted = true
			c["volumeMounts"] = []any{object{"name": "data", "mountPath": one(r, "/data", "/", "/podinit", "/podinit/x", "/podinitx")}}
		}
		if spec["os"] != nil && prefix == "app" && maybe(60) {
			c["lifecycle"] = object{"stopSignal": one(r, "SIGQUIT", "SIGRTMIN+3", "SIGTERM")}
		}
		if prefix == "app" && maybe(20) {
			c["livenessProbe"] = object{"exec": object{"command": []any{"true"}}, "terminationGracePeriodSeconds": one(r, 1, 600)}
		}
		if maybe(20) {
			c["terminationMessagePolicy"] = one(r, "File", "FallbackToLogsOnError")
			c["terminationMessagePath"] = one(r, "/dev/termination-log", "/tmp/$(X)")
		}
		if maybe(20) {
			c["securityContext"] = object{
				"allowPrivilegeEscalation": false, "capabilities": object{"drop": []any{"ALL"}}, "runAsNonRoot": true,
				"seccompProfile": one(r, object{"type": "RuntimeDefault"}, object{"type": "Localhost", "localhostProfile": "x"}),
			}
			if maybe(20) {
				c["securityContext"].(object)["seLinuxOptions"] = object{"level": one(r, "s0:c1,c2", "s0:c3,c4")}
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
	if mounted || maybe(30) {
		spec["volumes"] = []any{object{"name": "data", "emptyDir": object{}}}
	}
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
