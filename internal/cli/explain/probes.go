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

// byPID1 matches commands that take PID 1 for the program: it is the init. Those that send PID 1 a signal are not among
// them, as the init forwards what the program handles.
var byPID1 = regexp.MustCompile(`\b(jcmd|jstack|jmap|jinfo|jstat|jfr|asprof|pmap|gcore)\b[^|;&]*\s1(\s|$|["';|&)])` +
	`|\b(dotnet[- ](dump|trace|counters|gcdump|stack)|py-spy|rbspy|gdb|lldb|strace|perf|ps|top|pidstat|lsof)\b[^|;&]*` +
	`\s(-\w*p|--pid|--process-id)[= ]?1(\s|$|["';|&)])` +
	`|/proc/1/(exe|maps|oom_score|sched|smaps\w*|stat|statm|status|task|fd(\s|$|["';|&)]))`)

// commandLineNotes are a note for each probe and hook of a container that looks for processes by their command line, or
// takes PID 1 for the program.
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
		if a.exec == nil {
			continue
		}
		command := strings.Join(a.exec.Command, " ")
		if byPID1.MatchString(command) {
			notes = append(notes, fmt.Sprintf("The %s expects the program to be PID 1, and finds the init. Look up the PID by the program's name, "+
				"such as jcmd $(pgrep -o -x java), which works without podinit, too.", a.name))
		}
		if byCommandLine.MatchString(command) {
			notes = append(notes, fmt.Sprintf("The %s looks for processes by their command line, and finds the init, too: the command line of PID "+
				"1 is \"/podinit/init ... -- PROGRAM ...\". Anchor the pattern at the beginning, such as pgrep -f '^python3 worker.py'.", a.name))
		}
	}
	return notes
}
