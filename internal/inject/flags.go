package inject

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/profile"
)

// platform is what a container runs on one platform, where that is not the same on all.
type platform struct {
	name string
	// words come before the rest of the command; none where only the stop signal differs.
	words      []string
	stopSignal options.Signal
}

// unwrap is a command without the inits that earlier calls or the author put before it, and their platforms;
// not ok if it starts with one of ours that does not say where the program begins. Flags of a newer init, which
// cannot be read, end at "--".
func unwrap(command []string) (platforms []platform, rest []string, ok bool) {
	for len(command) > 0 && command[0] == InitPath && !haveWords(platforms) {
		words := command[1:]
		_, n, problem := options.Parse(options.Default(), words)
		if problem.Any() {
			if n = slices.IndexFunc(words, func(word string) bool { return word == "--" || options.IsPlatform(word) }); n < 0 {
				return nil, nil, false
			}
			if words[n] == "--" {
				n++
			}
		}
		if platforms, command, ok = readPlatforms(words, n); !ok {
			return nil, nil, false
		}
	}
	return platforms, command, true
}

// maxPlatforms bounds the platforms of one command, each of which is a program to decide about: twice as many as a lookup
// finds.
const maxPlatforms = 32

// readPlatforms reads the platforms that follow the init's flags, which are the first n words, and the words after them.
func readPlatforms(words []string, n int) (platforms []platform, rest []string, ok bool) {
	if !options.HasPlatforms(words, n) {
		return nil, words[n:], true
	}
	for {
		p, next, problem := options.NextPlatform(words, n)
		switch {
		case problem.Any():
			return nil, nil, false
		case p.Name == "":
			return platforms, words[next:], true
		case len(platforms) == maxPlatforms:
			return nil, nil, false
		}
		platforms = append(platforms, platform{name: p.Name, words: words[n+1 : next], stopSignal: p.StopSignal})
		n = next
	}
}

// haveWords says whether platforms have programs of their own.
func haveWords(platforms []platform) bool {
	return slices.ContainsFunc(platforms, func(p platform) bool { return len(p.words) > 0 })
}

// wrap is a command with the init before it.
func wrap(o options.Options, platforms []platform, command []string) []string {
	wrapped := imageconfig.Escape(append([]string{InitPath}, o.Args()...))
	for _, p := range platforms {
		wrapped = append(wrapped, options.Platform{Name: p.name, Words: len(p.words), StopSignal: p.stopSignal}.String())
		wrapped = append(wrapped, p.words...)
	}
	return append(append(wrapped, "--"), command...)
}

// initOptions are the init's options for one container: the profile's, then what the Pod's own fields say, then the
// Pod's annotation with flags for it, unless the profile does not let Pods choose. stopSignals are those of platforms, if
// they differ.
//
// The grace period is the longest that the kubelet may give: the Pod's, or a probe's where that is longer
// (terminationGracePeriodSeconds of a liveness or startup probe, KEP-2238), less what a preStop hook that only sleeps
// takes of it. The apiserver's default is 30 s.
func (s *subject) initOptions() (o options.Options, stopSignals []platform, err error) {
	o = s.setting.Profile.Init
	if s.setting.Profile.GraceFromPod {
		grace := int64(30)
		if g := s.pod.Spec.TerminationGracePeriodSeconds; g != nil {
			grace = *g
		}
		for _, probe := range []probe{s.LivenessProbe, s.StartupProbe} {
			if g := probe.TerminationGracePeriodSeconds; g != nil {
				grace = max(grace, *g)
			}
		}
		grace = min(max(grace, 0), int64(maxGrace/options.Second))
		if sleep := s.Lifecycle.preStopSleep(); sleep > 0 {
			grace = min(grace, max(grace-sleep, leastAfterHook))
		}
		o.Grace = options.Duration(grace) * options.Second
	}
	o.StopSignal, stopSignals = s.stopSignal()
	if s.TerminationMessagePolicy != "FallbackToLogsOnError" {
		if o.TerminationMessage = s.TerminationMessagePath; o.TerminationMessage == "" {
			o.TerminationMessage = "/dev/termination-log"
		}
		if o.TerminationMessage[0] != '/' {
			o.TerminationMessage = "/" + o.TerminationMessage // as container runtimes take it
		}
	}
	if flags, ok := s.pod.Metadata.Annotations[v1alpha1.FlagsAnnotation+s.Name]; ok && !s.choice.noFlags {
		words := strings.Fields(flags)
		if len(words) > maxWords {
			return o, nil, errors.New(tooManyWords)
		}
		if o, err = profile.ReadFlags(o, words); o.StopSignal != 0 {
			stopSignals = nil // a flag says it
		}
	}
	return o, stopSignals, err
}

// leastAfterHook is the time that the kubelet gives after a preStop hook in any case, in seconds
// (minimumGracePeriodInSeconds in pkg/kubelet/kuberuntime/kuberuntime_container.go).
const leastAfterHook = 2

// preStopSleep is how many seconds a preStop hook sleeps that does nothing else: the sleep action (KEP-3960), or the
// command that was used before that. The time counts against the grace period before the stop signal is sent.
func (l *lifecycle) preStopSleep() int64 {
	if seconds := l.PreStop.Sleep.Seconds; seconds > 0 {
		return seconds
	}
	words := l.PreStop.Exec.Command
	if len(words) == 3 && words[1] == "-c" && shellPath.MatchString(words[0]) {
		words = strings.Fields(words[2])
	}
	if len(words) != 2 || path.Base(words[0]) != "sleep" {
		return 0
	}
	seconds, err := strconv.ParseInt(strings.TrimSuffix(words[1], "s"), 10, 32)
	if err != nil || seconds < 0 {
		return 0
	}
	return seconds
}

var shellPath = regexp.MustCompile(`^(.*/)?(ba|da|a)?sh$`)

// maxWords bounds what an annotation gives to one container; tooManyWords says that it is above that.
const (
	maxWords     = 1024
	tooManyWords = "it has more than 1024 words"
)

// maxGrace keeps absurd grace periods from overflowing a duration.
const maxGrace = 365 * 24 * options.Hour
