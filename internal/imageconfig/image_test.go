package imageconfig

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
)

func on(os, architecture string, cmd ...string) Config {
	return Config{Platform: Platform{OS: os, Architecture: architecture}, Cmd: cmd}
}

func TestOn(t *testing.T) {
	amd64, arm64 := on("linux", "amd64", "a"), on("linux", "arm64", "b")
	long := on("linux", "arm64", strings.Repeat("x", maxWords-30))
	quit := Config{Platform: Platform{OS: "linux", Architecture: "amd64"}, StopSignal: "SIGQUIT"}
	for name, c := range map[string]struct {
		configs       []Config
		architectures []string
		want          []Config
		reason        v1alpha1.Reason
	}{
		"one":                         {configs: []Config{amd64}, want: []Config{amd64}},
		"one, of unknown system":      {configs: []Config{on("", "", "a")}, want: []Config{on("", "", "a")}},
		"one, for another processor":  {configs: []Config{arm64}, architectures: []string{"amd64"}, want: []Config{arm64}},
		"one, for Windows":            {configs: []Config{on("windows", "amd64", "a")}, reason: v1alpha1.ReasonImageNotLinux},
		"two alike":                   {configs: []Config{amd64, on("linux", "arm64", "a")}, want: []Config{amd64}},
		"two that differ":             {configs: []Config{amd64, arm64}, want: []Config{amd64, arm64}},
		"two that differ, one can be": {configs: []Config{amd64, arm64}, architectures: []string{"arm64"}, want: []Config{arm64}},
		"two of three":                {configs: []Config{amd64, on("linux", "s390x", "c"), arm64}, architectures: []string{"amd64", "arm64"}, want: []Config{amd64, arm64}},
		"one platform twice":          {configs: []Config{amd64, on("linux", "amd64", "b")}, want: []Config{amd64}},
		"Linux and Windows":           {configs: []Config{on("windows", "amd64", "b"), amd64}, want: []Config{amd64}},
		"Linux and WebAssembly":       {configs: []Config{on("wasip1", "wasm", "b"), amd64}, want: []Config{amd64}},
		"no architecture":             {configs: []Config{on("linux", "", "b"), on("", "", "b"), amd64}, want: []Config{amd64}},
		"no names":                    {configs: []Config{on("linux", "a:1", "b"), on("linux", "$(X)", "b"), on("linux", strings.Repeat("a", 33), "b"), amd64}, want: []Config{amd64}},
		"none fits":                   {configs: []Config{amd64, on("linux", "arm64", "a")}, architectures: []string{"s390x"}, reason: v1alpha1.ReasonImageNotLinux},
		"nothing":                     {reason: v1alpha1.ReasonImageNotLinux},
		"other stop signals":          {configs: []Config{quit, on("linux", "arm64")}, want: []Config{quit, on("linux", "arm64")}},
		"too long together":           {configs: []Config{amd64, long}, reason: v1alpha1.ReasonPlatformsDiffer},
		"long and alone":              {configs: []Config{amd64, long}, architectures: []string{"arm64"}, want: []Config{long}},
	} {
		t.Run(name, func(t *testing.T) {
			got, failure := Image{Configs: c.configs}.On(c.architectures)
			if failure == nil {
				failure = &Failure{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" || failure.Reason != c.reason {
				t.Errorf("reason %q, want %q; configs (-want +got):\n%s", failure.Reason, c.reason, diff)
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

func TestCheckPullable(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, image := range []string{"r.example/init:v1", "r.example:5000/a/init@" + digest, "r.example/init:v1@" + digest, "init", "localhost/init:1"} {
		if err := CheckPullable(image); err != nil {
			t.Errorf("%q: %v", image, err)
		}
	}
	for image, want := range map[string]string{
		"":                                  "it is empty",
		"r.example/init:v1\n":               "remove the space or line break",
		" r.example/init:v1":                "remove the space or line break",
		"r.example/init@" + digest + "\r\n": "remove the space or line break",
		"r.example/ init:v1":                "contains a space or line break",
		"r.example/init\n:v1":               "contains a space or line break",
		"r.example/":                        "want registry/repository:tag",
		"r.example//init:v1":                "want registry/repository:tag", // the kubelet waits with InvalidImageName
		"r.example/-init:v1":                "want registry/repository:tag",
		"r.example/Init:v1":                 "want registry/repository:tag",
		"r.example/init:":                   "want registry/repository:tag",
		"r.example/init:.v1":                "want registry/repository:tag",
		"r.example/init@sha256:0a":          "want registry/repository:tag",
		"http://r.example/init":             "want registry/repository:tag",
		strings.Repeat("a", 2<<10):          "longer than 1024 bytes",
		strings.Repeat("a ", 2<<10):         "remove the space",
	} {
		if err := CheckPullable(image); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.200q: error %v, want one that says %q", image, err, want)
		}
	}
}

// A name that no registry takes is refused as that before it is read.
func TestNameTooLong(t *testing.T) {
	if _, err := ParseReference(strings.Repeat("a.", 1<<20) + "/x"); !errors.Is(err, ErrNameTooLong) || len(err.Error()) > 200 {
		t.Errorf("%.200v", err)
	}
	longest := strings.Repeat("h", 253) + ":65535/" + strings.Repeat("r", 255) + ":" + strings.Repeat("t", 128) + "@sha256:" + strings.Repeat("0a", 32)
	if _, err := ParseReference(longest); err != nil {
		t.Errorf("the longest that there can be: %v", err)
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
