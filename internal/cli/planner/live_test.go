package planner

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// What an option says stays, and what may not be read is noted.
func TestFollowCluster(t *testing.T) {
	node := func(name, architecture, system string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{Architecture: architecture, OperatingSystem: system}}}
	}
	server := func(forbidden ...string) *apiserver {
		return &apiserver{forbidden: forbidden, objects: map[string]any{
			"/api/v1/nodes": corev1.NodeList{Items: []corev1.Node{node("a", "arm64", "linux"), node("b", "amd64", "linux"), node("c", "mips", "windows")}},
			"/api/v1/namespaces": corev1.NamespaceList{Items: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{
				Name: "shop", Annotations: map[string]string{v1alpha1.ProfileAnnotation: "team"},
			}}}},
			"/apis/podinit.dev/v1alpha1/initprofiles": v1alpha1.InitProfileList{Items: []v1alpha1.InitProfile{{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, {ObjectMeta: metav1.ObjectMeta{Name: "default"}}}},
		}}
	}
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: podinit.dev/v1alpha1\nkind: InitProfile\nmetadata: {name: mine}\nspec: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		options       Options
		server        *apiserver
		profile       string // in namespace shop
		other         string // in another
		architectures []string
		notes         string
	}{
		{"all is read", Options{}, server(), "team", "default", []string{"amd64", "arm64"}, ""},
		{"options", Options{Profiles: []string{file}, Architectures: []string{"riscv64"}}, server(), "mine", "mine", []string{"riscv64"}, ""},
		{"profiles are an option", Options{Profiles: []string{file}}, server(), "mine", "mine", []string{"amd64", "arm64"}, ""},
		{"not installed", Options{}, &apiserver{objects: map[string]any{"/api/v1/nodes": corev1.NodeList{}}}, "", "", nil, ""},
		{"nodes may not be read", Options{}, server("/api/v1/nodes"), "team", "default", nil, "nodes cannot be read"},
		{"namespaces may not be read", Options{}, server("/api/v1/namespaces"), "default", "default", []string{"amd64", "arm64"}, "namespaces cannot be read"},
		{"InitProfiles may not be read", Options{}, server("/apis/podinit.dev"), "", "", []string{"amd64", "arm64"}, "InitProfiles cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			flags := flagsFor(t, test.server)
			injector, _ := plan(t, test.options, flags)
			config, err := flags.ToRESTConfig()
			if err != nil {
				t.Fatal(err)
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			var errOut bytes.Buffer
			if err := injector.FollowCluster(t.Context(), client, test.options, metav1.NamespaceAll, &errOut); err != nil {
				t.Fatal(err)
			}
			pod, err := inject.Decode(json.RawMessage(`{"metadata":{},"spec":{"containers":[{"name":"a","command":["x"]}]}}`))
			if err != nil {
				t.Fatal(err)
			}
			shop, other := injector.Setting(t.Context(), "shop", pod), injector.Setting(t.Context(), "other", pod)
			if shop.Profile.Name() != test.profile || other.Profile.Name() != test.other {
				t.Errorf("profiles %q and %q, want %q and %q", shop.Profile.Name(), other.Profile.Name(), test.profile, test.other)
			}
			if diff := cmp.Diff(test.architectures, shop.Architectures); diff != "" {
				t.Errorf("architectures (-want +got):\n%s", diff)
			}
			if (test.notes == "") != (errOut.Len() == 0) || !strings.Contains(errOut.String(), test.notes) {
				t.Errorf("standard error %q, want %q", errOut.String(), test.notes)
			}
		})
	}
}
