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

func TestNotesOfPID1(t *testing.T) {
	for command, want := range map[string]bool{
		"jcmd 1 GC.run":                             true,
		"sh -c jcmd 1 Thread.print > /tmp/dump":     true,
		"/opt/java/bin/jstack -l 1":                 true,
		"jmap -dump:live,file=/dumps/heap.bin 1":    true,
		"dotnet-dump collect -p 1 -o /dumps":        true,
		"dotnet-dump collect --process-id 1":        true,
		"dotnet gcdump collect -p 1":                true,
		"py-spy dump --pid 1":                       true,
		"py-spy dump --pid=1":                       true,
		"sh -c test $(ps -o rss= -p 1) -lt 900000":  true,
		"sh -c grep VmRSS /proc/1/status":           true,
		"sh -c test $(ls /proc/1/fd | wc -l) -lt 9": true,
		"jcmd 17 GC.run":                            false,
		"jcmd org.example.Main Thread.print":        false,
		"sh -c jcmd $(pgrep -o -x java) GC.run":     false,
		"jcmd 0 Thread.print":                       false,
		"dotnet-dump collect -p 12":                 false,
		"py-spy dump --pid 10":                      false,
		"kill -HUP 1":                               false,
		"sh -c echo hello > /proc/1/fd/1":           false,
		"cat /proc/1/environ":                       false,
		"sh -c sleep 1 && jcmd org.example.Main":    false,
		"ps -ef":                                    false,
	} {
		exec := &corev1.ExecAction{Command: strings.Fields(command)}
		notes := commandLineNotes(&corev1.Container{LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: exec}}})
		if got := len(notes) == 1 && strings.HasPrefix(notes[0], "The livenessProbe expects the program to be PID 1"); got != want {
			t.Errorf("%q: %q", command, notes)
		}
	}
}
