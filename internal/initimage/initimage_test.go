package initimage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/version"
)

func TestCheckInitImage(t *testing.T) {
	pod := func(image string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "webhook-1"}, Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "other", Image: "r/other:1"}, {Name: "init", Image: image}}}}
	}
	if err := (Check{Config: inject.Config{Image: "r/init:1"}}).image(pod("r/init:1")); err != nil {
		t.Error(err)
	}
	if err := (Check{Config: inject.Config{Image: "r/init:1"}}).image(&corev1.Pod{}); err != nil {
		t.Errorf("without an initContainer: %v", err)
	}
	if err := (Check{Config: inject.Config{Image: "r/init:1", Mirrors: []string{"m/init"}}}).image(pod("m/init:1")); err != nil {
		t.Error(err)
	}
	if err := (Check{Config: inject.Config{Image: "r/init:2"}}).image(pod("r/init:1")); err == nil || !strings.Contains(err.Error(), `"r/init:2"`) || !strings.Contains(err.Error(), `"r/init:1"`) {
		t.Errorf("another image: error %v", err)
	}
}

func TestCheckInitProgram(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"same version":    {script: "echo podinit " + version.Version},
		"another version": {script: "echo podinit v0.0.1", want: "has version v0.0.1"},
		"another program": {script: "echo tini version 0.19", want: "says that it is"},
		"much output":     {script: "yes | head -c 1000000", want: "says that it is"},
		"it fails":        {script: "exit 3", want: "exit status 3"},
		"it is missing":   {want: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "init")
			if c.script != "" {
				if err := os.WriteFile(file, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := (Check{Config: inject.Config{Image: "r/init:1"}, Program: file}).program(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}
