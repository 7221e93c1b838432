package inject_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/test/pods"
)

var podCount = flag.Int("pods", 1000, "how many pods the property test generates")

// TestProperties holds every promise for generated pods in generated settings: those of the golden cases, and that
// nothing but what is ours has changed, down to fields and values that no version of Kubernetes knows.
func TestProperties(t *testing.T) {
	const shards = 4
	var wrapped atomic.Int64
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < *podCount; seed += shards {
					if checkGenerated(t, uint64(seed)) {
						wrapped.Add(1)
					}
				}
			})
		}
	})
	if n := wrapped.Load(); n < int64(*podCount)/4 {
		t.Errorf("only %d of %d generated pods were wrapped: the generator has lost its use", n, *podCount)
	}
}

// checkGenerated checks one pod, and says whether it was wrapped.
func checkGenerated(t *testing.T, seed uint64) (wrapped bool) {
	r := rand.New(rand.NewPCG(seed, 0))
	pod, setting, config := pods.Generate(r), generateSetting(t, r), config
	config.OpenShift = r.IntN(4) == 0
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	once, err := mutateWith(config, raw, setting)
	if err != nil {
		t.Fatalf("pod %d: %v\n%s", seed, err, raw)
	}
	checkPromises(t, config, raw, setting, once)
	before := decode(t, raw)
	if defaults := !strings.Contains(setting.Profile.Name(), "owners"); defaults && bytes.Contains(raw, []byte("jenkins.io")) {
		if diff := difference(before["spec"], decode(t, once.pod)["spec"]); diff != "" {
			t.Errorf("the pod of an owner that compares pods changed (-before +after):\n%s", diff)
		}
	} else if defaults && bytes.Contains(raw, []byte("cnpg.io")) && bytes.Contains(once.pod, []byte(digestGenerated)) {
		t.Errorf("the image of an owner that compares images is pinned")
	}
	if diff := difference(before, stripped(before, decode(t, once.pod))); diff != "" {
		t.Errorf("something that is not ours changed (-before +after):\n%s", diff)
	}
	checkUndone(t, raw, once.pod)
	if t.Failed() {
		t.Fatalf("pod %d: %s\nOpenShift %t, profile %q, image volumes %v, images %v\nbecame: %s", seed, raw, config.OpenShift, setting.Profile.Name(), setting.ImageVolumes, setting.Images, once.pod)
	}
	return bytes.Contains(once.patch, []byte(`"/podinit/init"`))
}

// generateSetting makes a profile and a cluster that an installation could have; the profile's name tells all of it.
func generateSetting(t *testing.T, r *rand.Rand) inject.Setting {
	setting := selected
	setting.ImageVolumes = pods.One(r, inject.ImageVolumes{},
		inject.ImageVolumes{Verdict: v1alpha1.ReasonEveryNodeCan, VerdictInUserNamespaces: v1alpha1.ReasonUserNamespaceTooOld})
	setting.LeastResources = pods.One(r, nil, map[string]resource.Quantity{}, map[string]resource.Quantity{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("48Mi")})
	if r.IntN(2) == 0 {
		image := imageconfig.Image{Digest: "sha256:" + strings.Repeat("0a", 32), Configs: []imageconfig.Config{{
			Platform:   imageconfig.Platform{OS: pods.One(r, "linux", "windows"), Architecture: "amd64"},
			Entrypoint: pods.One(r, nil, []string{"/entry", "$(X)"}, []string{"app"}, []string{""}, []string{"/init"}),
			Cmd:        pods.One(r, nil, []string{"$$", "<&>"}), StopSignal: pods.One(r, "", "SIGQUIT", "15"),
			User: pods.One(r, "", "", "999"),
		}}}
		if r.IntN(3) == 0 {
			image.Configs = append(image.Configs, imageconfig.Config{
				Platform:   imageconfig.Platform{OS: "linux", Architecture: pods.One(r, "arm64", "arm"), Variant: pods.One(r, "", "v8", "v6")},
				Entrypoint: pods.One(r, nil, []string{"/entry", "$(X)"}, []string{"--", "--platform=linux/amd64:1", "$$"}, []string{"/init"}),
				Cmd:        pods.One(r, nil, []string{"$$", "<&>"}, []string{"--", ""}), StopSignal: pods.One(r, "", "SIGQUIT", "3", "SIGRTMIN+3"),
			})
			setting.Architectures = pods.One(r, nil, []string{"amd64", "arm64"}, []string{"amd64"})
		}
		setting.Images = map[string]inject.LookedUp{
			"app0": {Image: image}, "app1": {Failure: &imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: errors.New("none")}}, "setup0": {Image: image},
		}
	}
	if r.IntN(3) == 0 {
		return setting
	}
	spec := v1alpha1.InitProfileSpec{
		Containers: v1alpha1.ContainersSpec{Sidecars: r.IntN(2) == 0, InitContainers: r.IntN(2) == 0, Exclude: pods.One(r, nil, []string{}, []string{"app1"})},
		Init: v1alpha1.InitSpec{
			SignalTarget: pods.One(r, "", v1alpha1.SignalTargetAuto, v1alpha1.SignalTargetAll), Wait: pods.One(r, "", v1alpha1.WaitAll),
			RewriteSignals: pods.One(r, nil, []string{"TERM:QUIT", "SIGHUP:0"}), RemapExitCodes: pods.One(r, nil, []int32{143}),
			Linger: pods.One(r, nil, &metav1.Duration{Duration: 1500 * time.Millisecond}), Grace: pods.One(r, "", "FromPod", "90s"), Verbosity: pods.One[int32](r, 0, 1, 2),
		},
		Exclude: v1alpha1.ExcludeSpec{Owners: pods.One(r, nil, []v1alpha1.ExcludedOwner{
			{Group: "example.com", Compares: pods.One(r, "", v1alpha1.ComparesPod, v1alpha1.ComparesImage)}, {Marks: []string{"note", "app=y"}},
		})},
		PinDigest:         pods.One(r, "", v1alpha1.PinNever, v1alpha1.PinOnLookup),
		LocalhostProfiles: r.IntN(2) == 0, SharedProcessNamespaces: r.IntN(2) == 0,
		Delivery: pods.One(r, "", v1alpha1.DeliverByInitContainer, v1alpha1.DeliverByImageVolume, v1alpha1.DeliverAuto),
		Entrypoints: pods.One(r, nil, []v1alpha1.ImageEntrypoint{
			{Image: "r/app:*", Entrypoint: pods.One(r, nil, []string{"/entry", "$HOME"}), Cmd: []string{"$$", "<&>"}},
		}),
	}
	if r.IntN(8) == 0 {
		spec.Delivery, spec.PinDigest = v1alpha1.DeliverByNode, v1alpha1.PinNever
	}
	name, err := json.Marshal(spec)
	if err == nil {
		setting.Profile, err = profile.New(string(name), spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	return setting
}

type object = pods.Object

// difference is cmp.Diff, which takes a hundred times as long as reflect.DeepEqual to find none.
func difference(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

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
	had, _ := before["metadata"].(object)["annotations"].(object)
	if had["kubectl.kubernetes.io/default-container"] == nil {
		without(metadata, "annotations", "kubectl.kubernetes.io/default-container")
	}
	for _, list := range []string{"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes", "backup.velero.io/backup-volumes-excludes"} {
		if had[list] == nil {
			without(metadata, "annotations", list)
		} else {
			annotations := metadata["annotations"].(object)
			annotations[list] = strings.TrimSuffix(annotations[list].(string), ",podinit")
		}
	}
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

// digestGenerated is what pinDigest adds to the images of generated settings.
var digestGenerated = "@sha256:" + strings.Repeat("0a", 32)

// unwrapped takes the init out of a container, and what its image says where that is where the command came from.
func unwrapped(before, c object) {
	dropNamed(c, "volumeMounts", "podinit")
	if image, _ := c["image"].(string); strings.HasSuffix(image, digestGenerated) {
		c["image"] = strings.TrimSuffix(image, digestGenerated)
	}
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

// TestForged: whatever a tenant puts into what is ours, where pods may not choose, the pod comes out as it would have
// without that.
func TestForged(t *testing.T) {
	fixed, err := profile.New("fixed", v1alpha1.InitProfileSpec{
		PodsMayChoose: new(bool), Containers: v1alpha1.ContainersSpec{InitContainers: true}, SharedProcessNamespaces: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	forged := 0
	for seed := range uint64(*podCount / 6) {
		r := rand.New(rand.NewPCG(seed, 1))
		setting := generateSetting(t, r)
		setting.Profile = fixed
		raw, err := json.Marshal(pods.Generate(r))
		if err != nil {
			t.Fatal(err)
		}
		once, err := mutate(raw, setting)
		if err != nil {
			t.Fatal(err)
		}
		pod := decode(t, once.pod)
		if !forge(r, pod["spec"].(object)) {
			continue
		}
		forged++
		tampered, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		again, err := mutate(tampered, setting)
		if err != nil {
			t.Fatal(err)
		}
		if diff := difference(decode(t, once.pod), decode(t, again.pod)); diff != "" {
			t.Fatalf("pod %d: %s\nforged: %s\n(-want +got):\n%s", seed, raw, tampered, diff)
		}
	}
	if forged < *podCount/24 {
		t.Errorf("only %d pods were forged: the generator has lost its use", forged)
	}
}

// forge changes what is ours in a wrapped pod, and says whether there is any.
func forge(r *rand.Rand, spec object) bool {
	some := false
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := spec[list].([]any)
		for _, each := range containers {
			c := each.(object)
			if c["name"] == "podinit-copy" {
				some = true
				c["image"] = pods.One(r, "evil.example/init", "registry.example/podinit/init:v1.2.2", "registry.example/podinit/init:latest", "registry.example/podinit/init2:v1.2.3",
					"evil.example/podinit/init:v1.2.3", "registry.example/podinit/init:v1.2.2@sha256:"+strings.Repeat("0a", 32))
				c["args"] = []any{"--evil"}
				c["env"] = []any{object{"name": "LD_PRELOAD", "value": "/mine"}}
				c["envFrom"] = []any{object{"secretRef": object{"name": "secret"}}}
				c["ports"] = []any{object{"containerPort": json.Number("80")}}
				c["lifecycle"] = object{"preStop": object{"exec": object{"command": []any{"x"}}}}
				c["volumeMounts"] = append(c["volumeMounts"].([]any), object{"name": "data", "mountPath": pods.One(r, "/init", "/", "/podinit/init", "/data")})
				c["future"] = "x"
				continue
			}
			if command, _ := c["command"].([]any); len(command) > 0 && command[0] == "/podinit/init" {
				some = true
				c["command"] = slices.Concat([]any{"/podinit/init"}, pods.One(r, []any{"--stop-signal=SIGKILL"}, []any{"-g", "--linger=1h"}, []any{"--", "/podinit/init", "-v"}), command[1:])
			}
			mounts, _ := c["volumeMounts"].([]any)
			for _, m := range mounts {
				if mount := m.(object); mount["name"] == "podinit" {
					delete(mount, "readOnly")
					if r.IntN(2) == 0 {
						mount["subPath"] = "x"
					}
				}
			}
		}
	}
	return some
}

// TestLatePrograms: a webhook that puts a program of its own before every command, as Bank-Vaults' does, makes the same of
// a pod whether it is called before us or after us. After us, each container has one init, and it is the first.
func TestLatePrograms(t *testing.T) {
	moved := 0
	for seed := range uint64(*podCount / 3) {
		r := rand.New(rand.NewPCG(seed, 2))
		setting := generateSetting(t, r)
		raw, err := json.Marshal(pods.Generate(r))
		if err != nil {
			t.Fatal(err)
		}
		once, err := mutate(raw, setting)
		if err != nil {
			t.Fatal(err)
		}
		early, late := decode(t, raw), decode(t, once.pod)
		var names []any
		eachContainer(late, func(c object) {
			if command, _ := c["command"].([]any); len(command) > 0 && command[0] == "/podinit/init" {
				names = append(names, c["name"])
				putBefore(c)
			}
		})
		if len(names) == 0 {
			continue
		}
		moved++
		after, err := mutate(marshal(t, late), setting)
		if err != nil {
			t.Fatal(err)
		}
		checkPromises(t, config, marshal(t, late), setting, after)
		got := map[any]object{}
		eachContainer(decode(t, after.pod), func(c object) {
			if got[c["name"]] = c; !slices.Contains(names, c["name"]) {
				return
			}
			command, _ := c["command"].([]any)
			args, _ := c["args"].([]any)
			inits := 0
			for _, word := range slices.Concat(command, args) {
				if word == "/podinit/init" {
					inits++
				}
			}
			if command[0] != "/podinit/init" || inits != 1 {
				t.Errorf("pod %d, container %s: command %q, args %q", seed, c["name"], command, args)
			}
		})
		eachContainer(early, func(c object) {
			if command, _ := c["command"].([]any); len(command) > 0 && slices.Contains(names, c["name"]) {
				putBefore(c)
			}
		})
		_, undone := undo(t, marshal(t, late))
		// After us, the status does not say any more that a digest is ours.
		_, again := undo(t, after.pod)
		if diff := difference(withoutDigests(decode(t, undone)), withoutDigests(decode(t, again))); diff != "" {
			t.Errorf("what is left without podinit (-before the call +after):\n%s", diff)
		}
		undoneContainers := map[any]object{}
		eachContainer(decode(t, undone), func(c object) { undoneContainers[c["name"]] = c })
		eachContainer(early, func(c object) {
			if command, _ := c["command"].([]any); len(command) == 0 {
				return
			}
			if diff := difference(c, undoneContainers[c["name"]]); diff != "" {
				t.Errorf("container %s is not what it would be without podinit (-want +got):\n%s", c["name"], diff)
			}
		})
		before, err := mutate(marshal(t, early), setting)
		if err != nil {
			t.Fatal(err)
		}
		eachContainer(early, func(c object) {
			if command, _ := c["command"].([]any); len(command) == 0 {
				delete(got, c["name"]) // that webhook would look its image up, too
			}
		})
		eachContainer(decode(t, before.pod), func(want object) {
			c, ok := got[want["name"]]
			if !ok || !slices.Contains(names, want["name"]) {
				return
			}
			for _, list := range []string{"command", "args"} {
				if diff := difference(want[list], c[list]); diff != "" {
					t.Errorf("container %s, %s (-before us +after us):\n%s", c["name"], list, diff)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("pod %d: %s\nprofile %q\nlate: %s\nbecame: %s", seed, raw, setting.Profile.Name(), marshal(t, late), after.pod)
		}
	}
	if moved < *podCount/12 {
		t.Errorf("only %d pods were changed behind us: the generator has lost its use", moved)
	}
}

// withoutDigests is a pod whose images have no digests.
func withoutDigests(pod object) object {
	eachContainer(pod, func(c object) { c["image"] = strings.TrimSuffix(c["image"].(string), digestGenerated) })
	return pod
}

// putBefore makes a container's whole command the args of another program.
func putBefore(c object) {
	command, _ := c["command"].([]any)
	args, _ := c["args"].([]any)
	c["command"], c["args"] = []any{"/vault/vault-env"}, slices.Concat(command, args)
}

func eachContainer(pod object, do func(object)) {
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := pod["spec"].(object)[list].([]any)
		for _, c := range containers {
			do(c.(object))
		}
	}
}

func marshal(t *testing.T, o object) []byte {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
