package profile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestNew(t *testing.T) {
	for name, c := range map[string]struct {
		spec v1alpha1.InitProfileSpec
		want string
	}{
		"delivery":     {v1alpha1.InitProfileSpec{Delivery: "Pigeon"}, `spec.delivery: "Pigeon" is not InitContainer, ImageVolume, Auto`},
		"pins by node": {v1alpha1.InitProfileSpec{Delivery: "Node", PinDigest: "OnLookup"}, "spec.pinDigest: OnLookup has no effect with delivery: Node"},
		"requires":     {v1alpha1.InitProfileSpec{RequireNode: true}, "spec.requireNode: true requires delivery: Node"},
		"refuses":      {v1alpha1.InitProfileSpec{Delivery: "Node", OnProblem: "Reject"}, "spec.onProblem: Reject has no effect with delivery: Node"},
		"onProblem":    {v1alpha1.InitProfileSpec{OnProblem: "Panic"}, `spec.onProblem: "Panic" is not Skip, Reject`},
		"pinDigest":    {v1alpha1.InitProfileSpec{PinDigest: "Always"}, `spec.pinDigest: "Always" is not`},
		"signalTarget": {v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{SignalTarget: "auto"}}, `spec.init.signalTarget: "auto" is not Auto,`},
		"wait":         {v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{Wait: "Forever"}}, `spec.init.wait: "Forever" is not Main, All`},
		"grace":        {v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{Grace: "soon"}}, `spec.init: --grace: "soon" is not a duration`},
		"rewrite":      {v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{RewriteSignals: []string{"TERM"}}}, `--rewrite: "TERM" is not a rewrite`},
		"no owner":     {v1alpha1.InitProfileSpec{Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Compares: "Pod"}}}}, "spec.exclude.owners[0]: group, kind or marks"},
		"compares":     {v1alpha1.InitProfileSpec{Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Kind: "X", Compares: "Name"}}}}, `spec.exclude.owners[0].compares: "Name" is not Pod, Image`},
		"exit code":    {v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{RemapExitCodes: []int32{256}}}, `--remap-exit-code: "256" is not an exit code`},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := New("team", c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("profile %v, error %v; want an error that says %q", p, err, c.want)
			}
		})
	}
}

// The samples are profiles that can be used.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/initprofiles/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var p v1alpha1.InitProfile
		if err := yaml.UnmarshalStrict(in, &p); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := New(p.Name, p.Spec); err != nil || p.Name == "" {
			t.Errorf("%s: name %q, error %v", file, p.Name, err)
		}
		read++
	}
	if read == 0 {
		t.Error("there are no samples")
	}
}

// What the apiserver fills in is what holds without a profile.
func TestDefaults(t *testing.T) {
	in, err := os.ReadFile("../../config/crd/podinit.dev_initprofiles.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(in, &definition); err != nil {
		t.Fatal(err)
	}
	var spec v1alpha1.InitProfileSpec
	defaults(t, definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"], &spec)
	defaults(t, definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["containers"], &spec.Containers)
	defaults(t, definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["init"], &spec.Init)
	defaults(t, definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["exclude"], &spec.Exclude)
	filled, err := New("", spec)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := New("", v1alpha1.InitProfileSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(empty.Spec.Containers, filled.Spec.Containers); diff != "" {
		t.Errorf("containers (-without +filled in):\n%s", diff)
	}
	if diff := cmp.Diff(empty.Spec.Exclude, filled.Spec.Exclude); diff != "" {
		t.Errorf("exclude (-without +filled in):\n%s", diff)
	}
	if diff := cmp.Diff(empty.Init.Args(), filled.Init.Args()); diff != "" || empty.GraceFromPod != filled.GraceFromPod {
		t.Errorf("init (-without +filled in):\n%s", diff)
	}
	for field, same := range map[string]bool{
		"podsMayChoose":           empty.SelectableByPods() == filled.SelectableByPods(),
		"localhostProfiles":       empty.Spec.LocalhostProfiles == filled.Spec.LocalhostProfiles,
		"sharedProcessNamespaces": empty.Spec.SharedProcessNamespaces == filled.Spec.SharedProcessNamespaces,
		"delivery":                empty.Spec.Delivery == filled.Spec.Delivery,
		"onProblem":               empty.Spec.OnProblem == filled.Spec.OnProblem,
		"pinDigest":               empty.Spec.PinDigest == filled.Spec.PinDigest,
	} {
		if !same {
			t.Errorf("%s: the schema's default is not what holds without it", field)
		}
	}
}

// defaults puts the defaults of an object's fields into v.
func defaults(t *testing.T, schema apiextensionsv1.JSONSchemaProps, v any) {
	t.Helper()
	for name, property := range schema.Properties {
		if property.Default == nil {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(`{"`+name+`":`+string(property.Default.Raw)+`}`), v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMatchesWildcard(t *testing.T) {
	for pattern, cases := range map[string]map[string]bool{
		"nginx":        {"nginx": true, "nginx:1": false, "": false},
		"*":            {"": true, "a/b:c": true},
		"nginx:*":      {"nginx:1": true, "nginx:": true, "nginx": false, "x/nginx:1": false},
		"*/nginx:*":    {"x/y/nginx:1": true, "nginx:1": false},
		"a*b*c":        {"abc": true, "axbxbxc": true, "abcd": false, "acb": false},
		"*ab":          {"aab": true, "abab": true, "aba": false},
		"a*a":          {"aa": true, "a": false, "aba": true},
		"**":           {"": true, "x": true},
		"ghcr.io/a/*@": {"ghcr.io/a/b": false, "ghcr.io/a/b@": true},
	} {
		for s, want := range cases {
			if got := matchesWildcard(pattern, s); got != want {
				t.Errorf("matchesWildcard(%q, %q) is %v", pattern, s, got)
			}
		}
	}
}
