package inject_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

// TestPodTooLarge has images whose commands would make a pod that no etcd takes. What fits is wrapped.
func TestPodTooLarge(t *testing.T) {
	for name, word := range map[string]string{"letters": strings.Repeat("a", 100<<10), "control characters": strings.Repeat("\x01", 20<<10)} {
		t.Run(name, func(t *testing.T) {
			const containers = 40
			images := map[string]inject.LookedUp{}
			var list []map[string]any
			for i := range containers {
				c := fmt.Sprintf("c%d", i)
				list = append(list, map[string]any{"name": c, "image": "r/long:1"})
				images[c] = inject.LookedUp{Image: imageconfig.Image{Digest: "sha256:" + strings.Repeat("0a", 32), Configs: []imageconfig.Config{{
					Platform: imageconfig.Platform{OS: "linux", Architecture: "amd64"}, Cmd: []string{word},
				}}}}
			}
			raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "p"}, "spec": map[string]any{"containers": list}})
			if err != nil {
				t.Fatal(err)
			}
			setting := selected
			setting.Images = images
			once, err := mutate(raw, setting)
			if err != nil {
				t.Fatal(err)
			}
			if len(once.pod) > 1<<20 {
				t.Errorf("the pod has %d bytes", len(once.pod))
			}
			pod, err := inject.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			wrapped, tooLarge := 0, 0
			for _, d := range inject.NewPlan(config, setting, pod).Containers {
				switch d.Reason {
				case "":
					wrapped++
				case v1alpha1.ReasonPodTooLarge:
					tooLarge++
				}
			}
			if wrapped < 6 || wrapped+tooLarge != containers {
				t.Errorf("%d are wrapped, and %d too large", wrapped, tooLarge)
			}
			again, err := mutate(once.pod, setting)
			if err != nil || again.patch != nil {
				t.Errorf("asked again: %v, %.300s", err, again.patch)
			}
		})
	}
}

// A quantity whose digits would fill the memory is taken for none. To compare a single one takes minutes.
func TestHugeQuantities(t *testing.T) {
	const huge = `{"cpu":"1e2000000000","memory":"1e2000000000","ephemeral-storage":"1e2000000000"}`
	const resources = `"resources":{"requests":` + huge + `,"limits":` + huge + `}`
	const usual = `"resources":{"limits":{"cpu":"1","memory":"1Gi","ephemeral-storage":"1Gi"}}`
	for name, spec := range map[string]string{
		"one container":     `"containers":[{"name":"a","image":"x","command":["app"],` + resources + `}]`,
		"several":           `"containers":[{"name":"a","image":"x","command":["app"],` + resources + `},{"name":"b","image":"x","command":["app"],` + usual + `}]`,
		"an init container": `"initContainers":[{"name":"i","image":"x",` + resources + `}],"containers":[{"name":"a","image":"x","command":["app"],` + usual + `}]`,
		"the pod's":         resources + `,"containers":[{"name":"a","image":"x","command":["app"]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			setting := selected
			setting.LeastResources = map[string]resource.Quantity{"cpu": resource.MustParse("1")}
			got, err := mutate([]byte(`{"metadata":{"name":"p"},"spec":{`+spec+`}}`), setting)
			if err != nil || got.patch == nil {
				t.Errorf("the pod is not wrapped: %v, %q", err, got.warnings)
			}
		})
	}
}

// A pod that is large without us, and one of many containers, are wrapped as ever.
func TestLargePod(t *testing.T) {
	large := `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"x","command":["app"],"env":[{"name":"A","value":"` + strings.Repeat("a", 900<<10) + `"}]}]}}`
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`{"name":"c%d","image":"x","command":["app"]}`, i))
	}
	for _, raw := range []string{large, `{"metadata":{"name":"p"},"spec":{"containers":[` + strings.Join(many, ",") + `]}}`} {
		pod, err := inject.Decode([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range inject.NewPlan(config, selected, pod).Containers {
			if d.Reason != "" {
				t.Fatalf("%s: %s", d.Name, d.Reason)
			}
		}
	}
}
