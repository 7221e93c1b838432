package inject

import (
	"slices"
	"strconv"
	"strings"
)

// unwrap is a command without the inits that earlier calls put before it, or not ok if it starts with one of ours
// that does not say where the program begins.
func unwrap(command []string) (rest []string, ok bool) {
	for len(command) > 0 && command[0] == initPath {
		end := slices.Index(command, "--")
		if end < 0 {
			return nil, false
		}
		command = command[end+1:]
	}
	return command, true
}

// initFlags are the init's flags for one container.
//
// The grace period is the longest that the kubelet may give: the Pod's, or a probe's where that is longer
// (terminationGracePeriodSeconds of a liveness or startup probe, KEP-2238). The apiserver's default is 30 s.
func initFlags(pod *Pod, c *container) []string {
	var flags []string
	if s := c.Lifecycle.StopSignal; s != "" {
		flags = append(flags, "--stop-signal="+s)
	}
	grace := int64(30)
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	for _, p := range []probe{c.LivenessProbe, c.StartupProbe} {
		if g := p.TerminationGracePeriodSeconds; g != nil {
			grace = max(grace, *g)
		}
	}
	flags = append(flags, "--grace="+strconv.FormatInt(grace, 10)+"s")
	if c.TerminationMessagePolicy != "FallbackToLogsOnError" {
		message := c.TerminationMessagePath
		if message == "" {
			message = "/dev/termination-log"
		}
		flags = append(flags, "--termination-message="+message)
	}
	for i, f := range flags {
		// The kubelet expands $(VAR) in every word of a command and turns $$ into $ (third_party/forked/golang/expansion).
		flags[i] = strings.ReplaceAll(f, "$", "$$")
	}
	return flags
}
