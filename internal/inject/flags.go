package inject

import (
	"slices"
	"strings"

	"github.com/podinit/podinit/initbin/options"
)

// unwrap is a command without the inits that earlier calls or the author put before it; not ok if it starts with one
// of ours that does not say where the program begins. Flags of a newer init, which cannot be read, end at "--".
func unwrap(command []string) (rest []string, ok bool) {
	for len(command) > 0 && command[0] == initPath {
		words := command[1:]
		_, n, problem := options.Parse(options.Default(), words)
		if problem.Err() != nil {
			if n = slices.Index(words, "--") + 1; n == 0 {
				return nil, false
			}
		}
		command = words[n:]
	}
	return command, true
}

// wrap is the command of a container with the init before it.
func wrap(pod *Pod, c *container, command []string) []string {
	wrapped := append([]string{initPath}, initOptions(pod, c).Args()...)
	for i, word := range wrapped {
		// The kubelet expands $(VAR) in every word of a command and turns $$ into $ (third_party/forked/golang/expansion).
		wrapped[i] = strings.ReplaceAll(word, "$", "$$")
	}
	return append(append(wrapped, "--"), command...)
}

// initOptions are the init's options for one container.
//
// The grace period is the longest that the kubelet may give: the Pod's, or a probe's where that is longer
// (terminationGracePeriodSeconds of a liveness or startup probe, KEP-2238). The apiserver's default is 30 s.
func initOptions(pod *Pod, c *container) options.Options {
	o := options.Default()
	grace := int64(30)
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	for _, p := range []probe{c.LivenessProbe, c.StartupProbe} {
		if g := p.TerminationGracePeriodSeconds; g != nil {
			grace = max(grace, *g)
		}
	}
	o.Grace = options.Duration(min(max(grace, 0), int64(maxGrace/options.Second))) * options.Second
	if s, ok := options.ParseSignal(c.Lifecycle.StopSignal); ok {
		o.StopSignal = s
	}
	if c.TerminationMessagePolicy != "FallbackToLogsOnError" {
		if o.TerminationMessage = c.TerminationMessagePath; o.TerminationMessage == "" {
			o.TerminationMessage = "/dev/termination-log"
		}
	}
	return o
}

// maxGrace keeps absurd grace periods from overflowing a duration.
const maxGrace = 365 * 24 * options.Hour
