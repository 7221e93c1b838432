package versioncmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/cli/exit"
)

// apiserver has a webhook, or podinit-node, or both; what begins with one of the forbidden paths may not be read.
type apiserver struct {
	webhook   *appsv1.Deployment
	node      *appsv1.DaemonSet
	forbidden []string
}

func (s apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for _, path := range s.forbidden {
		if strings.HasPrefix(r.URL.Path, path) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":%q}`, "forbidden: "+path)
			return
		}
	}
	var list any
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/deployments"):
		l := appsv1.DeploymentList{TypeMeta: metav1.TypeMeta{Kind: "DeploymentList", APIVersion: "apps/v1"}}
		if s.webhook != nil && in(path, s.webhook.Namespace) {
			l.Items = append(l.Items, *s.webhook)
		}
		list = l
	case strings.HasSuffix(path, "/daemonsets"):
		l := appsv1.DaemonSetList{TypeMeta: metav1.TypeMeta{Kind: "DaemonSetList", APIVersion: "apps/v1"}}
		if s.node != nil && in(path, s.node.Namespace) {
			l.Items = append(l.Items, *s.node)
		}
		list = l
	default:
		list = corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	}
	_ = json.NewEncoder(w).Encode(list)
}

// in says whether the objects of a namespace are in the list at a path.
func in(path, namespace string) bool {
	return !strings.Contains(path, "/namespaces/") || strings.Contains(path, "/namespaces/"+namespace+"/")
}

func webhook() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "podinit-webhook"}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "webhook", Image: "registry.example/webhook:v1.2.3", Args: []string{"-suspend"},
		Env: []corev1.EnvVar{{Name: "PODINIT_INIT_IMAGE", Value: "registry.example/init:v1.2.3"}},
	}}
	return d
}

func daemonSet(tag string) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-node", Name: "podinit-node"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/component": "node"}}
	d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "registry.example/init:" + tag}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "node", Image: "registry.example/node:" + tag, Args: []string{"-v=1", "-suspend=true"}}}
	return d
}

const (
	serverLines = "Server: v1.2.3 (deployment/podinit-webhook in namespace podinit-system)\n" +
		"  webhook image: registry.example/webhook:v1.2.3\n  init image:    registry.example/init:v1.2.3\n"
	nodeLines = "Node:   v1.3.0 (daemonset/podinit-node in namespace podinit-node)\n" +
		"  node image:    registry.example/node:v1.3.0\n  init image:    registry.example/init:v1.3.0\n"
)

// runVersion runs the command against the apiserver.
func runVersion(t *testing.T, s apiserver, namespace string, args ...string) (out string, err error) {
	t.Helper()
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	flags := genericclioptions.NewConfigFlags(false)
	flags.APIServer, flags.Namespace = &listening.URL, &namespace
	var o bytes.Buffer
	command := NewCommand(flags, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &o, ErrOut: &o})
	command.SetArgs(args)
	command.SilenceUsage, command.SilenceErrors = true, true
	command.SetContext(t.Context())
	err = command.Execute()
	return o.String(), err
}

// What is installed is printed, and it is an error only if nothing is.
func TestTable(t *testing.T) {
	const deployments, daemonSets = "/apis/apps/v1/deployments", "/apis/apps/v1/daemonsets"
	for _, tt := range []struct {
		name      string
		apiserver apiserver
		namespace string
		want      string // behind the client's line
		code      int
		problem   string
	}{
		{"webhook", apiserver{webhook: webhook()}, "", serverLines, exit.OK, ""},
		{"node mode", apiserver{node: daemonSet("v1.3.0")}, "", nodeLines, exit.OK, ""},
		{"both", apiserver{webhook: webhook(), node: daemonSet("v1.3.0")}, "", serverLines + nodeLines, exit.OK, ""},
		{"both, in the namespace of one", apiserver{webhook: webhook(), node: daemonSet("v1.3.0")}, "podinit-node", nodeLines, exit.OK, ""},
		{"neither", apiserver{}, "", "", exit.Found, "podinit is not installed: no deployment is labelled app.kubernetes.io/name=podinit"},
		{"neither in that namespace", apiserver{node: daemonSet("v1.3.0")}, "shop", "", exit.Found, "and no DaemonSet is labelled"},
		{"DaemonSets are forbidden", apiserver{webhook: webhook(), forbidden: []string{"/apis/apps/v1/namespaces/podinit-system/daemonsets"}},
			"podinit-system", serverLines, exit.OK, ""},
		{"Deployments are forbidden", apiserver{node: daemonSet("v1.3.0"), forbidden: []string{deployments}}, "", nodeLines, exit.OK, ""},
		{"DaemonSets of all namespaces are forbidden", apiserver{node: daemonSet("v1.3.0"), forbidden: []string{deployments, daemonSets}}, "", nodeLines, exit.OK, ""},
		{"no webhook, DaemonSets are forbidden", apiserver{forbidden: []string{"/apis/apps/v1/namespaces", daemonSets}}, "", "", exit.Failed, "-n, or use --client"},
		{"all is forbidden in a namespace", apiserver{forbidden: []string{"/"}}, "podinit-system", "", exit.Failed, "--client needs no cluster"},
		{"a version that nothing says", apiserver{node: daemonSet("prod")}, "", "Node:   unknown: neither a label nor the image's tag has it, and no node reports it " +
			"(daemonset/podinit-node in namespace podinit-node)\n  node image:    registry.example/node:prod\n  init image:    registry.example/init:prod\n", exit.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := runVersion(t, tt.apiserver, tt.namespace)
			if code := exit.Code(err); code != tt.code || tt.problem != "" && !strings.Contains(fmt.Sprint(err), tt.problem) {
				t.Errorf("exit code %d, %v; want %d and %q", code, err, tt.code, tt.problem)
			}
			client, rest, _ := strings.Cut(out, "\n")
			if !strings.HasPrefix(client, "Client: ") {
				t.Errorf("it does not begin with its own version: %q", client)
			}
			if diff := cmp.Diff(tt.want, rest); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Programs read the same from JSON and YAML.
func TestFormats(t *testing.T) {
	want := Versions{
		Server: &Workload{
			Namespace: "podinit-system", Name: "podinit-webhook", Version: "v1.2.3", Source: "the image's tag",
			Image: "registry.example/webhook:v1.2.3", InitImage: "registry.example/init:v1.2.3", SuspendedByFlag: true,
		},
		Node: &Workload{
			Namespace: "podinit-node", Name: "podinit-node", Version: "v1.3.0", Source: "the image's tag",
			Image: "registry.example/node:v1.3.0", InitImage: "registry.example/init:v1.3.0", SuspendedByFlag: true,
		},
	}
	for _, format := range []string{"json", "yaml"} {
		out, err := runVersion(t, apiserver{webhook: webhook(), node: daemonSet("v1.3.0")}, "", "-o", format)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		var got Versions
		if err := yaml.UnmarshalStrict([]byte(out), &got); err != nil { // JSON is YAML
			t.Fatalf("%s: %v: %s", format, err, out)
		}
		if got.Client.Version == "" {
			t.Errorf("%s: no version of the client", format)
		}
		got.Client = Client{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	if out, err := runVersion(t, apiserver{webhook: webhook()}, "", "-o", "json"); err != nil || strings.Contains(out, `"node"`) {
		t.Errorf("without node mode: %v, %s", err, out)
	}
}
