package explain

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCommandLineNotes(t *testing.T) {
	for command, want := range map[string]bool{
		"pgrep -f worker.py":                       true,
		"sh -c test $(pgrep -fc worker.py) -eq 1":  true,
		"sh -c pgrep --full worker":                true,
		"sh -c ps aux | grep -c [w]orker":          true,
		"sh -c ps -ef|egrep worker":                true,
		"pkill -TERM -f worker":                    true,
		"pgrep worker":                             false,
		"pgrep -x nginx":                           false,
		"sh -c pgrep nginx && grep -f list file":   false,
		"pidof nginx":                              false,
		"cat /tmp/ready":                           false,
		"sh -c curl -f http://localhost/ | grep x": false,
	} {
		exec := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: strings.Fields(command)}}
		notes := commandLineNotes(&corev1.Container{ReadinessProbe: &corev1.Probe{ProbeHandler: exec}})
		if got := len(notes) == 1 && strings.HasPrefix(notes[0], "The readinessProbe looks for"); got != want {
			t.Errorf("%q: %q", command, notes)
		}
		hook := &corev1.LifecycleHandler{Exec: exec.Exec}
		notes = commandLineNotes(&corev1.Container{Lifecycle: &corev1.Lifecycle{PreStop: hook}})
		if got := len(notes) == 1 && strings.HasPrefix(notes[0], "The preStop hook looks for"); got != want {
			t.Errorf("%q as a hook: %q", command, notes)
		}
	}
}
