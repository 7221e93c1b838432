package imageconfig

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
)

func on(os, architecture string, cmd ...string) Config {
	return Config{Platform: Platform{OS: os, Architecture: architecture}, Cmd: cmd}
}

func TestOn(t *testing.T) {
	for name, c := range map[string]struct {
		configs       []Config
		architectures []string
		want          Config
		reason        v1alpha1.Reason
	}{
		"one":                         {configs: []Config{on("linux", "amd64", "a")}, want: on("linux", "amd64", "a")},
		"one, of unknown system":      {configs: []Config{on("", "", "a")}, want: on("", "", "a")},
		"one, for another processor":  {configs: []Config{on("linux", "arm64", "a")}, architectures: []string{"amd64"}, want: on("linux", "arm64", "a")},
		"one, for Windows":            {configs: []Config{on("windows", "amd64", "a")}, reason: v1alpha1.ReasonImageNotLinux},
		"two alike":                   {configs: []Config{on("linux", "amd64", "a"), on("linux", "arm64", "a")}, want: on("linux", "amd64", "a")},
		"two that differ":             {configs: []Config{on("linux", "amd64", "a"), on("linux", "arm64", "b")}, reason: v1alpha1.ReasonPlatformsDiffer},
		"two that differ, one can be": {configs: []Config{on("linux", "amd64", "a"), on("linux", "arm64", "b")}, architectures: []string{"arm64"}, want: on("linux", "arm64", "b")},
		"Linux and Windows":           {configs: []Config{on("windows", "amd64", "b"), on("linux", "amd64", "a")}, want: on("linux", "amd64", "a")},
		"Linux and WebAssembly":       {configs: []Config{on("wasip1", "wasm", "b"), on("linux", "amd64", "a")}, want: on("linux", "amd64", "a")},
		"none fits":                   {configs: []Config{on("linux", "amd64", "a"), on("linux", "arm64", "a")}, architectures: []string{"s390x"}, reason: v1alpha1.ReasonImageNotLinux},
		"nothing":                     {reason: v1alpha1.ReasonImageNotLinux},
		"other stop signals": {
			configs: []Config{{Platform: Platform{OS: "linux"}, StopSignal: "SIGQUIT"}, on("linux", "arm64")},
			reason:  v1alpha1.ReasonPlatformsDiffer,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, failure := Image{Configs: c.configs}.On(c.architectures)
			if failure == nil {
				failure = &Failure{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" || failure.Reason != c.reason {
				t.Errorf("reason %q, want %q; config (-want +got):\n%s", failure.Reason, c.reason, diff)
			}
		})
	}
}

func TestParseReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for image, want := range map[string]Reference{
		"nginx":                              {Registry: "index.docker.io", Repository: "library/nginx", Tag: "latest"},
		"localhost/team/app:1":               {Registry: "localhost:443", Repository: "team/app", Tag: "1"},
		"docker.io/team/app:1":               {Registry: "index.docker.io", Repository: "team/app", Tag: "1"},
		"registry.example:5000/a/b/c:v2":     {Registry: "registry.example:5000", Repository: "a/b/c", Tag: "v2"},
		"registry.example/app@" + digest:     {Registry: "registry.example", Repository: "app", Digest: digest},
		"registry.example/app:1.2@" + digest: {Registry: "registry.example", Repository: "app", Digest: digest},
	} {
		got, err := ParseReference(image)
		if err != nil {
			t.Errorf("%s: %v", image, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", image, diff)
		}
		if again, err := ParseReference(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, which is read as %v, %v", image, got, again, err)
		}
	}
	for _, image := range []string{"", "UPPER/case:1", "registry.example/app@sha256:short", "a b", "registry.example/\x00"} {
		if got, err := ParseReference(image); err == nil {
			t.Errorf("%q is read as %v", image, got)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, image := range []string{"nginx", "registry.example:5000/a/b:1@sha256:" + strings.Repeat("0a", 32), "localhost/a", "[::1]:5000/a", "docker.io/a"} {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, image string) {
		ref, err := ParseReference(image)
		if err != nil || len(image) > 200 { // a name may have 255 characters, and gets some more here
			return
		}
		if again, err := ParseReference(ref.String()); err != nil || again != ref {
			t.Errorf("%q is read as %+v, whose name is read as %+v, %v", image, ref, again, err)
		}
		if ref.Registry == "" || ref.Repository == "" || ref.Identifier() == "" || strings.Contains(ref.String(), "\x00") {
			t.Errorf("%q is read as %+v", image, ref)
		}
	})
}
