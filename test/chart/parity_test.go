package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	webhookDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	initDigest    = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// TestSameAsConfig compares the chart with config/default, and each of config's components with the value that stands
// for it.
func TestSameAsConfig(t *testing.T) {
	for name, tt := range map[string]struct{ components, values []string }{
		"default":            {},
		"networkpolicy":      {[]string{"networkpolicy"}, []string{"--set=networkPolicy.enabled=true"}},
		"suspend":            {[]string{"suspend"}, []string{"--set=suspend=true"}},
		"policy":             {[]string{"policy"}, []string{"--set=wrappingPolicy.enabled=true"}},
		"prepull":            {[]string{"prepull"}, nil},
		"certmanager":        {[]string{"certmanager"}, []string{"--set=certificate.mode=cert-manager"}},
		"clientcertificates": {[]string{"clientcertificates"}, []string{"--set-string=clientCertificates.caBundle=" + someCA}},
		"prometheus":         {[]string{"prometheus"}, []string{"--set=metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"}},
		"all": {
			[]string{"networkpolicy", "policy", "prepull", "certmanager", "prometheus"},
			[]string{"--set=networkPolicy.enabled=true,wrappingPolicy.enabled=true,certificate.mode=cert-manager,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"},
		},
	} {
		want := kustomized(t, tt.components)
		// Helm makes the namespace of a release itself (--create-namespace), or finds it.
		delete(want, "Namespace "+system)
		for _, object := range want {
			normalise(t, object)
		}
		for _, helm := range helms {
			t.Run(name+"/"+helm, func(t *testing.T) {
				values := slices.Clone(tt.values)
				if !slices.Contains(tt.components, "prepull") { // which config/default has not, since it cannot know the image's name
					values = append(values, "--set=prepull.enabled=false")
				}
				got := rendered(t, helm, append(values, "--set=images.registry=registry.example/podinit",
					"--set=images.webhook.digest="+webhookDigest, "--set=images.init.digest="+initDigest)...)
				for _, object := range got {
					normalise(t, object)
				}
				if name == "clientcertificates" { // the authority, which with config is in a file of the user's
					if got["ConfigMap podinit-client-ca"] == nil {
						t.Error("there is no ConfigMap with the authority")
					}
					delete(got, "ConfigMap podinit-client-ca")
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-config +chart):\n%s", diff)
				}
			})
		}
	}
}

const nodeDigest = "sha256:3333333333333333333333333333333333333333333333333333333333333333"

// TestNodeSameAsConfig compares the chart with mode node with config/node, and mode both with config/default and config/node in one
// namespace.
func TestNodeSameAsConfig(t *testing.T) {
	images := []string{"--set=images.registry=registry.example/podinit", "--set=images.webhook.digest=" + webhookDigest,
		"--set=images.init.digest=" + initDigest, "--set=images.node.digest=" + nodeDigest, "--set=prepull.enabled=false"}
	for name, tt := range map[string]struct {
		components []string
		mode       string
		values     []string
	}{
		"node":          {nil, "node", nil},
		"networkpolicy": {[]string{"nodenetworkpolicy"}, "node", []string{"--set=networkPolicy.enabled=true"}},
		"prometheus":    {[]string{"nodeprometheus"}, "node", []string{"--set=metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true"}},
		"both":          {nil, "both", nil},
	} {
		want := kustomizedNode(t, tt.components)
		if tt.mode == "both" {
			for key, object := range kustomized(t, nil) {
				want[key] = object
			}
		}
		delete(want, "Namespace "+system)
		for _, object := range want {
			normalise(t, object)
		}
		for _, helm := range helms {
			t.Run(name+"/"+helm, func(t *testing.T) {
				got := rendered(t, helm, append(append([]string{"--set=mode=" + tt.mode}, images...), tt.values...)...)
				for _, object := range got {
					normalise(t, object)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-config +chart):\n%s", diff)
				}
			})
		}
	}
}

// kustomizedNode is config/node, in the namespace of a release.
func kustomizedNode(t *testing.T, components []string) map[string]map[string]any {
	t.Helper()
	directory := t.TempDir()
	config, err := filepath.Abs(filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if config, err = filepath.Rel(directory, config); err != nil { // kustomize takes no absolute one
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s/node]\nimages:\n", config)
	for name, digest := range map[string]string{"init": initDigest, "node": nodeDigest} {
		text += fmt.Sprintf("- {name: ghcr.io/podinit/%s, newName: registry.example/podinit/%s, digest: %q}\n", name, name, digest)
	}
	if len(components) > 0 {
		text += "components:\n"
		for _, c := range components {
			text += fmt.Sprintf("- %s/%s\n", config, c)
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, *kubectlFlag, "kustomize", directory)
	if err != nil {
		t.Fatal(err)
	}
	made := objects(t, strings.ReplaceAll(out, "namespace: podinit-node", "namespace: "+system))
	delete(made, "Namespace podinit-node")
	return made
}

// kustomized is what 'make deploy' applies, with some components.
func kustomized(t *testing.T, components []string) map[string]map[string]any {
	t.Helper()
	out, err := run(t, *kubectlFlag, "kustomize", kustomization(t, "registry.example/podinit/webhook@"+webhookDigest, "registry.example/podinit/init@"+initDigest, components))
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, out)
}

// kustomization makes the directory that 'make deploy' makes, with images by digest and some components.
func kustomization(t *testing.T, webhook, init string, components []string) (directory string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config", "deploy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	directory = t.TempDir()
	config, err := filepath.Abs(filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if config, err = filepath.Rel(directory, config); err != nil { // kustomize takes no absolute one
		t.Fatal(err)
	}
	made := strings.NewReplacer("../../config", config, "@WEBHOOK_IMAGE@", webhook, "@INIT_IMAGE@", init).Replace(string(text))
	// config/prepull runs the image, and kustomize's word for that is this.
	name, digest, _ := strings.Cut(init, "@")
	if slices.Contains(components, "policy") {
		made += "- target: {kind: ValidatingAdmissionPolicy, name: podinit-wrapping}\n  patch: |-\n" +
			"    - {op: test, path: /spec/variables/0/name, value: initRepository}\n" +
			"    - {op: replace, path: /spec/variables/0/expression, value: \"'" + name + "'\"}\n"
	}
	made += fmt.Sprintf("images:\n- {name: ghcr.io/podinit/init, newName: %q, digest: %q}\n", name, digest)
	if len(components) > 0 {
		made += "components:\n"
		for _, c := range components {
			made += fmt.Sprintf("- %s/%s\n", config, c)
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "kustomization.yaml"), []byte(made), 0o644); err != nil {
		t.Fatal(err)
	}
	return directory
}

// normalise takes away what the chart and config/ are allowed to differ in.
func normalise(t *testing.T, object map[string]any) {
	t.Helper()
	u := unstructured.Unstructured{Object: object}
	// Who has installed an object.
	labels := u.GetLabels()
	for _, name := range []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version"} {
		delete(labels, name)
	}
	u.SetLabels(labels)
	switch u.GetKind() {
	case "CustomResourceDefinition":
		annotations := u.GetAnnotations()
		delete(annotations, "helm.sh/resource-policy") // only Helm knows it
		u.SetAnnotations(annotations)
	case "Deployment":
		// An upgrade with another registry configuration restarts the webhook; kustomize cannot do that.
		unstructured.RemoveNestedField(object, "spec", "template", "metadata", "annotations", "checksum/registries")
	case "ConfigMap":
		// Comments do not count.
		data, _, err := unstructured.NestedStringMap(object, "data")
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range data {
			var parsed any
			if err := yaml.UnmarshalStrict([]byte(text), &parsed); err != nil {
				t.Fatal(err)
			}
			if err := unstructured.SetNestedField(object, parsed, "data", name); err != nil {
				t.Fatal(err)
			}
		}
	}
}
