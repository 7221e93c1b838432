package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/cli"
)

// apiserver answers lists of metadata, and discovery of apps/v1 and v1.
func apiserver(t *testing.T) string {
	t.Helper()
	object := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	list := func(names ...string) []byte {
		var items []any
		for _, n := range names {
			items = append(items, map[string]any{"metadata": map[string]any{"name": n}})
		}
		return object(map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "items": items})
	}
	resources := func(version string, all ...any) []byte {
		return object(map[string]any{"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": version, "resources": all})
	}
	answers := map[string][]byte{
		"/api": object(map[string]any{"kind": "APIVersions", "versions": []string{"v1"}}),
		"/apis": object(map[string]any{"apiVersion": "v1", "kind": "APIGroupList", "groups": []any{map[string]any{
			"name": "apps", "versions": []any{map[string]string{"groupVersion": "apps/v1", "version": "v1"}}, "preferredVersion": map[string]string{"groupVersion": "apps/v1", "version": "v1"},
		}}}),
		"/api/v1": resources("v1", map[string]any{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": []string{"list"}}),
		"/apis/apps/v1": resources("apps/v1", map[string]any{
			"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment", "verbs": []string{"list"}, "shortNames": []string{"deploy"},
		}),
		"/api/v1/namespaces":                        list("shop", "shop-test", "default"),
		"/apis/apps/v1/namespaces/shop/deployments": list("web", "worker", "db"),
		"/apis/podinit.dev/v1alpha1/initprofiles":   list("strict", "slow"),
		"/api/v1/namespaces/default/pods":           list("p"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// complete is what a shell is offered, and the directive.
func complete(t *testing.T, server string, args ...string) (words []string, said string) {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "config")
	config := "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters:\n- {name: here, cluster: {server: '" + server + "'}}\nusers:\n- {name: me, user: {}}\n" +
		"contexts:\n- {name: one, context: {cluster: here, user: me}}\n- {name: two, context: {cluster: here, user: me}}\n"
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	t.Setenv("KUBECACHEDIR", dir)
	var out, errOut bytes.Buffer
	cli.Run(append([]string{"podinit", "__complete"}, args...), strings.NewReader(""), &out, &errOut)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1], errOut.String()
}

func TestComplete(t *testing.T) {
	server := apiserver(t)
	for name, tt := range map[string]struct{ args, want []string }{
		"namespaces":                {[]string{"status", "-n", "sh"}, []string{"shop", "shop-test"}},
		"contexts":                  {[]string{"check", "--context", ""}, []string{"one", "two"}},
		"clusters":                  {[]string{"check", "--cluster", ""}, []string{"here"}},
		"users":                     {[]string{"check", "--user", "m"}, []string{"me"}},
		"profiles":                  {[]string{"inject", "--profile", "st"}, []string{"strict"}},
		"profiles of explain":       {[]string{"explain", "--profile", "s"}, []string{"strict", "slow"}},
		"kinds":                     {[]string{"explain", "d"}, []string{"daemonset/", "deployment/"}},
		"objects by a short name":   {[]string{"explain", "-n", "shop", "deploy/w"}, []string{"deploy/web", "deploy/worker"}},
		"objects by a plural":       {[]string{"explain", "-n", "shop", "deployments/d"}, []string{"deployments/db"}},
		"objects of the context's":  {[]string{"explain", "pod/"}, []string{"pod/p"}},
		"an unknown kind":           {[]string{"explain", "nothing/"}, []string{}},
		"a namespace that is empty": {[]string{"explain", "-n", "none", "deploy/"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := complete(t, server, tt.args...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Where no cluster answers nothing is offered, and no error is printed.
func TestNoCluster(t *testing.T) {
	for _, args := range [][]string{{"status", "-n", ""}, {"explain", "deploy/"}, {"inject", "--profile", ""}} {
		words, said := complete(t, "http://127.0.0.1:1", args...)
		if len(words) > 0 || strings.Contains(said, "rror") || strings.Contains(said, "refused") {
			t.Errorf("%v: %q, %q", args, words, said)
		}
	}
}
