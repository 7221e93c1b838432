package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
)

// unwrap is a command without the inits that earlier calls or the author put before it; not ok if it starts with one
// of ours that does not say where the program begins. Flags of a newer init, which cannot be read, end at "--".
func unwrap(command []string) (rest []string, ok bool) {
	for len(command) > 0 && command[0] == initPath {
		words := command[1:]
		_, n, problem := options.Parse(options.Default(), words)
		if problem.Any() {
			if n = slices.Index(words, "--") + 1; n == 0 {
				return nil, false
			}
		}
		command = words[n:]
	}
	return command, true
}

// wrap is a command with the init before it.
func wrap(o options.Options, command []string) []string {
	wrapped := imageconfig.Escape(append([]string{initPath}, o.Args()...))
	return append(append(wrapped, "--"), command...)
}

// readFlags is o with flags of the init on top; nothing but flags.
func readFlags(o options.Options, words []string) (options.Options, error) {
	o, n, problem := options.Parse(o, words)
	switch {
	case problem.Any():
		return o, problem
	case n < len(words):
		return o, fmt.Errorf("%q is no flag", words[n])
	case o.Show != options.ShowNothing:
		return o, fmt.Errorf("a flag asks for a text instead of the program")
	}
	return o, nil
}

// initOptions are the init's options for one container: the profile's, then what the Pod's own fields say, then the
// Pod's annotation with flags for it, unless the profile does not let Pods choose.
//
// The grace period is the longest that the kubelet may give: the Pod's, or a probe's where that is longer
// (terminationGracePeriodSeconds of a liveness or startup probe, KEP-2238). The apiserver's default is 30 s.
func (p *Plan) initOptions(c *container) (options.Options, error) {
	o := p.profile.init
	if p.profile.graceFromPod {
		grace := int64(30)
		if g := p.pod.Spec.TerminationGracePeriodSeconds; g != nil {
			grace = *g
		}
		for _, probe := range []probe{c.LivenessProbe, c.StartupProbe} {
			if g := probe.TerminationGracePeriodSeconds; g != nil {
				grace = max(grace, *g)
			}
		}
		o.Grace = options.Duration(min(max(grace, 0), int64(maxGrace/options.Second))) * options.Second
	}
	o.StopSignal = p.stopSignal(c)
	if c.TerminationMessagePolicy != "FallbackToLogsOnError" {
		if o.TerminationMessage = c.TerminationMessagePath; o.TerminationMessage == "" {
			o.TerminationMessage = "/dev/termination-log"
		}
		if o.TerminationMessage[0] != '/' {
			o.TerminationMessage = "/" + o.TerminationMessage // as container runtimes take it
		}
	}
	if flags, ok := p.pod.Metadata.Annotations[v1alpha1.FlagsAnnotation+c.Name]; ok && !p.choice.noFlags {
		words := strings.Fields(flags)
		if len(words) > maxWords {
			return o, errors.New(tooManyWords)
		}
		return readFlags(o, words)
	}
	return o, nil
}

// maxWords bounds what an annotation gives to one container; tooManyWords says that it is above that.
const (
	maxWords     = 1024
	tooManyWords = "it has more than 1024 words"
)

// maxGrace keeps absurd grace periods from overflowing a duration.
const maxGrace = 365 * 24 * options.Hour
