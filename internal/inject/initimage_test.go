package inject_test

import (
	"strings"
	"testing"

	"github.com/podinit/podinit/internal/inject"
)

func TestStands(t *testing.T) {
	const repository = "ghcr.io/podinit/init"
	digest, another := "@sha256:"+strings.Repeat("0a", 32), "@sha256:"+strings.Repeat("0b", 32)
	mirrors := []string{"127.0.0.1:31999/podinit/init", "mirror.example/ghcr.io/podinit/init"}
	for _, c := range []struct {
		image, existing string
		want            bool
	}{
		{repository + ":v1", repository + ":v1", true},
		{repository + ":v1", repository + ":v1" + digest, true},
		{repository + ":v1", repository + ":v2", false},
		{repository + ":v1", repository + ":v2" + digest, false},
		{repository + ":v1", repository + digest, false}, // of which tag is not said
		{repository + ":v1", repository + ":v1@sha256:0a", false},
		{repository + ":v1", "ghcr.io/podinit/init2:v1", false},
		{repository + ":v1", "evil.example/podinit/init:v1", false},
		{repository + ":v1", "", false},
		{repository + ":v1", "ghcr.io/podinit/INIT:v1", false},
		{repository + ":v1", mirrors[0] + ":v1", true},
		{repository + ":v1", mirrors[1] + ":v1" + digest, true},
		{repository + ":v1", mirrors[1] + ":v2", false},
		{repository + ":v1", mirrors[1] + "/x:v1", false},
		{repository + ":v1", mirrors[0] + ":v1-zarf-1234567890", true},
		{repository + ":v1", mirrors[0] + ":v1-zarf-x", false},
		{repository + ":v1", mirrors[0] + ":v1-zarf-evil-zarf-1", false},
		{repository + ":v1" + digest, repository + ":v1" + digest, true},
		{repository + ":v1" + digest, repository + digest, true},
		{repository + ":v1" + digest, repository + ":v2" + digest, false},
		{repository + ":v1" + digest, repository + ":v1" + another, false},
		{repository + ":v1" + digest, repository + ":v1", false},
		{repository + digest, repository + digest, true},
		{repository + digest, repository + ":v1" + digest, false},
		{repository + digest, mirrors[1] + digest, true},
		{repository + digest, mirrors[1] + another, false},
		{"podinit/init:v1", "docker.io/podinit/init:v1", true},
		{"podinit/init:v1", "index.docker.io/podinit/init:v1", true},
	} {
		if got := (inject.Config{Image: c.image, Mirrors: mirrors}).Stands(c.existing); got != c.want {
			t.Errorf("init image %s: %s stands for it: %t, want %t", c.image, c.existing, got, c.want)
		}
	}
}
