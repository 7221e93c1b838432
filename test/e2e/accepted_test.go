package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/test/pods"
)

var generated = flag.Int("generated", 300, "how many generated pods are sent to the apiserver")

// TestAccepted sends the pods of the golden cases, and generated ones, to the apiserver as a dry run.
// What it takes in a plain namespace it takes wrapped.
func TestAccepted(t *testing.T) {
	lookups(t)
	plain, opted := namespace(t, nil), namespace(t, optedIn())
	// Raw, since pods have fields that no client knows.
	send := func(namespace string, raw []byte) (pod corev1.Pod, err error) {
		text, err := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Param("dryRun", "All").
			WarningHandler(rest.NoWarnings{}).SetHeader("Content-Type", "application/json").Body(raw).Do(t.Context()).Raw()
		if err == nil {
			err = json.Unmarshal(text, &pod)
		}
		return pod, err
	}
	accepted, wrapped, all := 0, 0, 0
	check := func(name string, pod pods.Object) {
		t.Helper()
		all++
		metadata, spec := pod["metadata"].(pods.Object), pod["spec"].(pods.Object)
		delete(metadata, "namespace")
		delete(spec, "serviceAccountName")
		if metadata["name"] == nil {
			metadata["generateName"] = "pod-"
		}
		raw, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := send(plain, raw); err != nil {
			return
		}
		accepted++
		with, err := send(opted, raw)
		if err != nil {
			t.Errorf("%s: accepted without podinit, refused with it: %v\n%s", name, err, raw)
			return
		}
		for _, c := range with.Spec.Containers {
			if len(c.Command) > 0 && c.Command[0] == "/podinit/init" {
				wrapped++
				break
			}
		}
	}

	files, err := filepath.Glob("../../internal/inject/testdata/*/pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var pod pods.Object
		if err := yaml.Unmarshal(text, &pod); err != nil {
			t.Fatal(err)
		}
		check(file, pod)
	}
	for seed := range uint64(*generated) {
		check(fmt.Sprintf("generated pod %d", seed), pods.Generate(rand.New(rand.NewPCG(seed, 0))))
	}
	t.Logf("%d of %d pods are accepted without podinit; %d of them were wrapped and accepted", accepted, all, wrapped)
	if accepted < all/2 || wrapped < accepted/2 {
		t.Error("too few to show anything")
	}
}
