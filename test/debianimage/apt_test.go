package debianimage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURIs(t *testing.T) {
	output := `'http://mirror.example/pool/main/p/procps/procps_4.0.2-3_amd64.deb' procps_2%3a4.0.2-3_amd64.deb 708712 MD5Sum:3ec3
'http://mirror.example/pool/updates/main/e/expat/libexpat1_2.5.0-1%2bdeb12u5_amd64.deb' libexpat1_2.5.0-1+deb12u5_amd64.deb 107940 
`
	got, err := parseURIs(output)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"libexpat1_2.5.0-1+deb12u5_amd64.deb", "procps_2%3a4.0.2-3_amd64.deb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestParseURIsRefuses(t *testing.T) {
	for name, output := range map[string]string{
		"nothing":          "",
		"a message":        "base-files is already the newest version.\n",
		"a file elsewhere": "'http://mirror.example/x.deb' ../x.deb 1 MD5Sum:0\n",
	} {
		if files, err := parseURIs(output); err == nil {
			t.Errorf("%s: got %q and no error", name, files)
		}
	}
}

// The part of a cache for another architecture keeps its files apart, and names the architecture as Debian does.
func TestOther(t *testing.T) {
	cache := Cache{Directory: "/cache"}
	for architecture, want := range map[string]Cache{
		"amd64":   {Directory: "/cache/sid-amd64", architecture: "amd64", suite: "sid", platform: "amd64"},
		"ppc64le": {Directory: "/cache/sid-ppc64el", architecture: "ppc64el", suite: "sid", platform: "ppc64le"},
	} {
		got := cache.Other(architecture, "sid")
		got.updated = nil
		if got != want {
			t.Errorf("%s: %+v, want %+v", architecture, got, want)
		}
	}
}
