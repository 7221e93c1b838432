package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
)

// keys are all labels and annotations of podinit's.
var keys = []struct {
	key, on, values, meaning string
}{
	{v1alpha1.Inject, "label of a Namespace; label or annotation of a pod", code(v1alpha1.InjectEnabled) + ", " + code(v1alpha1.InjectDisabled),
		"Whether pods are wrapped. `disabled` on a pod wins over everything, on a namespace it closes the namespace to pods that opt in."},
	{v1alpha1.ProfileAnnotation, "annotation of a Namespace or a pod", "a name",
		"The [InitProfile](initprofile.md) that says how. Without it the one named `default` holds, and without that the fields' defaults. A pod's own comes first, if the profiles let pods choose."},
	{v1alpha1.ContainersAnnotation, "annotation of a pod", "names, separated by commas",
		"The containers to wrap, and no others. Init containers and sidecars can be named too."},
	{v1alpha1.SkipContainersAnnotation, "annotation of a pod", "names, separated by commas",
		"Containers to leave alone."},
	{v1alpha1.FlagsAnnotation + "<container>", "annotation of a pod", "flags, separated by spaces",
		"[Flags of the init](flags.md#init) for one container, after those of the profile."},
	{v1alpha1.EntrypointAnnotation + "<container>", "annotation of a pod", "a JSON array of strings",
		"What the container's image runs, for a container without `command`. Meant literally: `$` means nothing in it."},
	{v1alpha1.StatusAnnotation, "annotation of a pod, written by podinit", "JSON, see below",
		"What was done, or why it was not. It informs; nothing is decided by it."},
	{v1alpha1.VersionLabel, "label of a pod, written by podinit", "a version",
		"The version of the init that the pod runs: `kubectl get pods -L " + v1alpha1.VersionLabel + "`."},
	{v1alpha1.CABundleAnnotation, "annotation of the MutatingWebhookConfiguration", code(v1alpha1.CABundleExternal),
		"`podinit-certificates`, where it still runs, leaves the `caBundle` alone: cert-manager or you write it."},
}

func annotations(root string) (string, error) {
	t := newTable("key", "where", "value", "meaning")
	for _, k := range keys {
		t.row(code(k.key), k.on, k.values, k.meaning)
	}
	status, err := fields(filepath.Join(root, "api/v1alpha1/status.go"), "Status", "ContainerStatus")
	if err != nil {
		return "", err
	}
	return head("Labels and annotations", "api/v1alpha1", "What each key does. How they work together: [opting in](../opting-in.md).") + `
` + t.String() + `
A mistake in one of them refuses no pod: it is ignored, the creation's warning says so, and so does the status
(` + "`ignored`" + `), unless the profile says ` + "`onProblem: Reject`" + `.

## The status

` + "`" + v1alpha1.StatusAnnotation + "`" + ` holds one line of JSON. Reasons are explained in [reasons](../reasons.md).

` + status + `
## What podinit writes besides

The annotation ` + "`cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes`" + ` gets the volume ` + "`podinit`" + ` added to its list,
so that the cluster autoscaler may still remove the pod's node.
`, nil
}

// fields are those of Go structs as a table, with their names in JSON and their documentation.
func fields(file string, structs ...string) (string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return "", err
	}
	t := newTable("field", "meaning")
	for i, name := range structs {
		prefix := ""
		if i > 0 {
			prefix = "containers.NAME."
		}
		found := false
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.TypeSpec)
			if !ok || spec.Name.Name != name {
				return true
			}
			found = true
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				key, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
				text := prose(f.Doc.Text())
				if text == "" {
					text = "`wrapped` or `skipped`." // Action, whose type says it
				}
				t.row(code(prefix+key), text)
			}
			return false
		})
		if !found {
			return "", fmt.Errorf("%s: there is no struct %s", file, name)
		}
	}
	return t.String(), nil
}
