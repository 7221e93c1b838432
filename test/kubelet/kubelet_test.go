// Package kubelet has the kubelet's own managers of topology, CPUs and memory judge pods: those that are wrapped get on a node
// what they would get there without podinit.
package kubelet

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/test/pods"
)

var managers = flag.String("managers", "", "the program of test/cluster/build/kubernetes/managers")

// verdict is a Verdict of that program.
type verdict struct {
	Policy, Scope, Reason string
	Admitted              bool
	Containers            map[string]exclusive
}

type exclusive struct {
	CPUs                string
	Memory, OtherMemory uint64
}

// judge has each pod come to an empty node of each policy.
func judge(t *testing.T, pods [][]byte) (verdicts []verdict) {
	t.Helper()
	if *managers == "" {
		t.Fatal("-managers is required: make test-kubelet builds it")
	}
	command := exec.CommandContext(t.Context(), *managers)
	command.Stdin = bytes.NewReader(bytes.Join(pods, []byte("\n")))
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, problems.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var v verdict
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			if len(verdicts)%len(pods) != 0 || len(verdicts) == 0 {
				t.Fatalf("%d verdicts on %d pods", len(verdicts), len(pods))
			}
			return verdicts
		case err != nil:
			t.Fatal(err)
		}
		verdicts = append(verdicts, v)
	}
}

func wrap(t *testing.T, pod []byte, least map[string]resource.Quantity) []byte {
	t.Helper()
	decoded, err := inject.Decode(pod)
	if err != nil {
		t.Fatal(err)
	}
	setting := inject.Setting{Namespace: "default", Selected: true, LeastResources: least}
	raw, err := inject.NewPlan(inject.Config{Image: "registry.example/podinit/init:1", Version: "1"}, setting, decoded).Patch()
	if err != nil {
		t.Fatal(err)
	}
	if pod, err = jsonpatch.Apply(pod, raw); err != nil {
		t.Fatal(err)
	}
	return pod
}

// pod has containers with these resources, as requests and as limits.
func pod(containers ...string) []byte {
	var list []json.RawMessage
	for i, r := range containers {
		list = append(list, json.RawMessage(fmt.Sprintf(`{"name":"app%d","image":"r/app:1","command":["app"],"resources":{"requests":%s,"limits":%s}}`, i, r, r)))
	}
	spec, _ := json.Marshal(map[string]any{"containers": list}) // they are all valid
	return []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},"spec":` + string(spec) + `}`)
}

// copierMemory is what the copier asks for where LimitRanges demand nothing.
const copierMemory = 32 << 20

// compare says what a wrapped pod gets that it would not get without podinit, or does not get.
func compare(t *testing.T, name string, raw []byte, before, after []verdict, known bool) {
	t.Helper()
	small := known
	for _, c := range before[0].Containers {
		small = small && c.Memory+c.OtherMemory <= 8<<30 // else it needs as much as a container
	}
	for i, want := range before {
		got := after[i]
		copier := got.Containers[inject.CopierName]
		delete(got.Containers, inject.CopierName)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, LimitRanges known: %t, policy %s, scope %s: %s\n(-without podinit +with it):\n%s", name, known, want.Policy, want.Scope, raw, diff)
		}
		if copier.CPUs != "" {
			t.Errorf("%s, policy %s, scope %s: the copier has CPUs %s for itself", name, want.Policy, want.Scope, copier.CPUs)
		}
		if memory := copier.Memory + copier.OtherMemory; small && memory > copierMemory {
			t.Errorf("%s, policy %s, scope %s: the copier has %d bytes for itself", name, want.Policy, want.Scope, memory)
		}
	}
}

// Containers get the same CPUs and the same memory with podinit as without, on each kind of node, and pods with a GPU are
// admitted where they are without.
func TestManagers(t *testing.T) {
	const gpu = `"nvidia.com/gpu":"1"`
	cases := map[string][]byte{
		"a GPU and whole CPUs":     pod(`{"cpu":"4","memory":"16Gi",` + gpu + `}`),
		"all CPUs of a NUMA node":  pod(`{"cpu":"7","memory":"60Gi",` + gpu + `}`),
		"no memory for two":        pod(`{"cpu":"4","memory":"8Gi",` + gpu + `}`),
		"one CPU":                  pod(`{"cpu":"1","memory":"1Gi"}`),
		"CPUs of both NUMA nodes":  pod(`{"cpu":"12","memory":"100Gi"}`),
		"two containers, one GPU":  pod(`{"cpu":"2","memory":"1Gi"}`, `{"cpu":"4","memory":"8Gi",`+gpu+`}`),
		"shared CPUs":              pod(`{"cpu":"1500m","memory":"2Gi",` + gpu + `}`),
		"whole CPUs beside shared": pod(`{"cpu":"4","memory":"8Gi",`+gpu+`}`, `{"cpu":"100m","memory":"64Mi"}`),
		"written otherwise":        pod(`{"cpu":"4000m","memory":"17179869184",` + gpu + `}`),
		"burstable": []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},"spec":{"containers":[{"name":"app0","image":"r/app:1","command":["app"],
			"resources":{"requests":{"cpu":"4","memory":"1Gi"},"limits":{"memory":"2Gi",` + gpu + `}}}]}}`),
		"pod-level resources": []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},"spec":{"resources":{"requests":{"cpu":"4","memory":"8Gi"},"limits":{"cpu":"4","memory":"8Gi"}},
			"containers":[{"name":"app0","image":"r/app:1","command":["app"]}]}}`),
	}
	names, before, after, afterUnknown := []string{}, [][]byte{}, [][]byte{}, [][]byte{}
	for name, raw := range cases {
		names, before = append(names, name), append(before, raw)
		after = append(after, wrap(t, raw, map[string]resource.Quantity{}))
		afterUnknown = append(afterUnknown, wrap(t, raw, nil))
	}
	plain := judge(t, before)
	for known, wrapped := range map[bool][]verdict{true: judge(t, after), false: judge(t, afterUnknown)} {
		each := len(plain) / len(names)
		for i, name := range names {
			compare(t, name, before[i], plain[i*each:(i+1)*each], wrapped[i*each:(i+1)*each], known)
		}
	}
	admitted, pinned := 0, 0
	for _, v := range plain {
		if v.Admitted {
			admitted++
		}
		if v.Containers["app0"].CPUs != "" {
			pinned++
		}
	}
	if admitted < len(plain)/2 || pinned < len(plain)/2 {
		t.Errorf("of %d verdicts without podinit, %d admit the pod and %d give it CPUs: there is little to compare", len(plain), admitted, pinned)
	}
}

// The same for generated pods.
func TestManagersOfGeneratedPods(t *testing.T) {
	const count = 24
	var before, after [][]byte
	for seed := uint64(0); len(before) < count; seed++ {
		raw, err := json.Marshal(pods.Generate(rand.New(rand.NewPCG(seed, 3))))
		if err != nil {
			t.Fatal(err)
		}
		if wrapped := wrap(t, raw, map[string]resource.Quantity{}); bytes.Contains(wrapped, []byte(`"podinit-copy"`)) {
			before, after = append(before, raw), append(after, wrapped)
		}
	}
	plain, wrapped := judge(t, before), judge(t, after)
	each := len(plain) / count
	for i, raw := range before {
		compare(t, fmt.Sprintf("pod %d", i), raw, plain[i*each:(i+1)*each], wrapped[i*each:(i+1)*each], true)
	}
}
