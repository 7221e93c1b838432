package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podinit/podinit/initbin/policy"
)

// TestReal holds what is said of coreutils' and util-linux' programs against the programs themselves: each is run, and what
// it starts writes its words.
func TestReal(t *testing.T) {
	directory := t.TempDir()
	show := "#!/bin/sh\nprintf 'echo'\nfor word; do printf '|%s' \"$word\"; done\n"
	if err := os.WriteFile(filepath.Join(directory, "echo"), []byte(show), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range behind {
		if !strings.HasPrefix(tt.want, "echo") {
			continue
		}
		program, err := exec.LookPath(tt.words[0])
		if err != nil {
			t.Errorf("%v: Debian has it in coreutils or util-linux", err)
			continue
		}
		words := append([]string{}, tt.words[1:]...)
		for i := range words { // also without the environment
			words[i] = strings.ReplaceAll(words[i], "echo", filepath.Join(directory, "echo"))
		}
		command := exec.Command(program, words...)
		var stderr strings.Builder
		command.Stderr = &stderr
		got, err := command.Output()
		if err != nil || string(got) != tt.want {
			t.Errorf("%q runs %q, want %q: %v %s", tt.words, got, tt.want, err, stderr.String())
		}
	}
}

// TestAsTheInit holds the shells and inits that are known here to those that the init knows.
func TestAsTheInit(t *testing.T) {
	for name, known := range table {
		if (known.kind == Shell) != (policy.ShellOf(name) != 0) {
			t.Errorf("%s is a shell here or in initbin/policy, and not in both", name)
		}
	}
	for _, name := range []string{"sh", "dash", "bash", "ash", "ksh", "ksh93", "mksh", "zsh"} {
		if policy.ShellOf(name) == 0 || table[name].kind != Shell {
			t.Errorf("%s is not a shell in both", name)
		}
	}
	for _, name := range []string{"tini", "tini-static", "docker-init", "dumb-init", "catatonit"} {
		if !policy.IsInit(name) || table[name].kind != Init {
			t.Errorf("%s is not an init in both", name)
		}
	}
	for _, name := range []string{"busybox", "toybox"} {
		if !policy.Applets(name) || table[name].kind != Wrapper {
			t.Errorf("%s does not have applets in both", name)
		}
	}
}
