package explain

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// byCommandLine matches commands that look for processes by their whole command line, as the init's has the program's
// words in it, too.
var byCommandLine = regexp.MustCompile(`\b(pgrep|pkill)\b[^|;&]*\s(-[a-zA-Z]*f[a-zA-Z]*|--full)\b|\bps\b[^;&]*\|\s*[ef]?grep\b`)

// commandLineNotes are a note for each probe and hook of a container that looks for processes by their command line.
func commandLineNotes(c *corev1.Container) (notes []string) {
	type action struct {
		name string
		exec *corev1.ExecAction
	}
	var actions []action
	probe := func(name string, p *corev1.Probe) {
		if p != nil {
			actions = append(actions, action{name, p.Exec})
		}
	}
	hook := func(name string, h *corev1.LifecycleHandler) {
		if h != nil {
			actions = append(actions, action{name, h.Exec})
		}
	}
	probe("livenessProbe", c.LivenessProbe)
	probe("readinessProbe", c.ReadinessProbe)
	probe("startupProbe", c.StartupProbe)
	if c.Lifecycle != nil {
		hook("postStart hook", c.Lifecycle.PostStart)
		hook("preStop hook", c.Lifecycle.PreStop)
	}
	for _, a := range actions {
		if a.exec != nil && byCommandLine.MatchString(strings.Join(a.exec.Command, " ")) {
			notes = append(notes, fmt.Sprintf("The %s looks for processes by their command line, and finds the init, too: PID 1's is \"/podinit/init ... -- PROGRAM ...\". Anchor the pattern at the beginning, such as pgrep -f '^python3 worker.py'.", a.name))
		}
	}
	return notes
}
