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
		"Whether pods are wrapped. `disabled` on a pod overrides everything; on a namespace it also overrides pods that opt in. `false`, `no` and `off` mean the same."},
	{v1alpha1.ProfileAnnotation, "annotation of a Namespace or a pod", "a name",
		"The [InitProfile](initprofile.md) to use. Without it the profile named `default` applies, and without that the fields' defaults. A pod's annotation overrides its namespace's, if the profiles let pods choose."},
	{v1alpha1.ContainersAnnotation, "annotation of a pod", "names, separated by commas",
		"The containers to wrap, and no others. Init containers and sidecars can be named too."},
	{v1alpha1.SkipContainersAnnotation, "annotation of a pod", "names, separated by commas",
		"The containers to leave alone."},
	{v1alpha1.FlagsAnnotation + "<container>", "annotation of a pod", "flags, separated by spaces",
		"[Flags of the init](flags.md#init) for one container, after those of the profile."},
	{v1alpha1.EntrypointAnnotation + "<container>", "annotation of a pod", "a JSON array of strings",
		"What the container's image runs, for a container without `command`. It is used literally: `$` has no special meaning."},
	{v1alpha1.StatusAnnotation, "annotation of a pod, written by podinit", "JSON, see below",
		"What podinit did, and the reasons. It informs, and says what `podinit uninject` takes out; how a pod is wrapped does not depend on it."},
	{v1alpha1.VersionLabel, "label of a pod, written by podinit", "a version",
		"The version of the init that the pod runs: `kubectl get pods -L " + v1alpha1.VersionLabel + "`."},
	{v1alpha1.CABundleAnnotation, "annotation of the MutatingWebhookConfiguration", code(v1alpha1.CABundleExternal),
		"`podinit-certificates`, if it still runs, does not write the `caBundle`: cert-manager or you write it."},
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
Podinit does not refuse a pod for a mistake in one of them: it ignores the label or annotation, and reports that in a warning and in the status
(` + "`ignored`" + `), unless the profile says ` + "`onProblem: Reject`" + `.

## The status

` + "`" + v1alpha1.StatusAnnotation + "`" + ` holds one line of JSON. Reasons are explained in [reasons](../reasons.md).

` + status + `
## What else podinit writes

The annotation ` + "`backup.velero.io/backup-volumes-excludes`" + ` gets the volume ` + "`podinit`" + ` added to its list, so that Velero does not
back it up. With an init container, so does ` + "`cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes`" + `, so that the cluster
autoscaler may still remove the pod's node; and a pod with one container gets ` + "`kubectl.kubernetes.io/default-container`" + ` unless it
has one, so that ` + "`kubectl logs`" + ` and ` + "`exec`" + ` do not ask which. With ` + "`requireNode`" + ` in the profile, ` + "`" + v1alpha1.RequiredPluginsAnnotation + "`" + ` names
podinit among the plugins without which the node's runtime refuses the pod.
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
