package inject

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
)

// Profile is an InitProfile, read and checked.
type Profile struct {
	name string
	spec v1alpha1.InitProfileSpec
	// init is what the profile says about the init, without what is the Pod's own.
	init options.Options
	// graceFromPod is set where the grace period is the Pod's own.
	graceFromPod bool
}

// NewProfile checks an InitProfile's spec, as the schema of its CustomResourceDefinition does, and fills in defaults:
// not every spec comes from an apiserver.
func NewProfile(name string, spec v1alpha1.InitProfileSpec) (*Profile, error) {
	p := &Profile{name: name, spec: spec}
	init := &p.spec.Init
	for _, choice := range []struct {
		field string
		value *string
		of    []string // the first is the default
	}{
		{"delivery", (*string)(&p.spec.Delivery), []string{string(v1alpha1.DeliverByInitContainer), string(v1alpha1.DeliverByImageVolume), string(v1alpha1.DeliverAuto)}},
		{"onProblem", (*string)(&p.spec.OnProblem), []string{string(v1alpha1.ProblemSkip), string(v1alpha1.ProblemReject)}},
		{"pinDigest", (*string)(&p.spec.PinDigest), []string{string(v1alpha1.PinNever), string(v1alpha1.PinOnLookup)}},
		{"init.signalTarget", (*string)(&init.SignalTarget), []string{string(v1alpha1.SignalTargetAuto), string(v1alpha1.SignalTargetMain), string(v1alpha1.SignalTargetGroup), string(v1alpha1.SignalTargetAll)}},
		{"init.wait", (*string)(&init.Wait), []string{string(v1alpha1.WaitMain), string(v1alpha1.WaitAll)}},
	} {
		if *choice.value == "" {
			*choice.value = choice.of[0]
		}
		if !slices.Contains(choice.of, *choice.value) {
			return nil, fmt.Errorf("spec.%s: %q is not %s", choice.field, *choice.value, strings.Join(choice.of, ", "))
		}
	}
	if p.spec.Containers.Exclude == nil {
		p.spec.Containers.Exclude = DefaultExclude()
	}

	flags := []string{
		"--signal-target=" + strings.ToLower(string(init.SignalTarget)),
		"--wait=" + strings.ToLower(string(init.Wait)),
	}
	if init.Linger != nil {
		flags = append(flags, "--linger="+init.Linger.Duration.String())
	}
	if p.graceFromPod = init.Grace == "" || init.Grace == v1alpha1.GraceFromPod; !p.graceFromPod {
		flags = append(flags, "--grace="+init.Grace)
	}
	for _, r := range init.RewriteSignals {
		flags = append(flags, "--rewrite="+r)
	}
	for _, code := range init.RemapExitCodes {
		flags = append(flags, "--remap-exit-code="+strconv.Itoa(int(code)))
	}
	var err error
	if p.init, err = readFlags(options.Default(), flags); err != nil {
		return nil, fmt.Errorf("spec.init: %w", err)
	}
	p.init.Verbosity = uint8(min(max(init.Verbosity, 0), 2))
	return p, nil
}

// defaultProfile applies where no InitProfile does. Defaults are valid.
var defaultProfile, _ = NewProfile("", v1alpha1.InitProfileSpec{})

// DefaultExclude are the containers that are left alone unless a profile says otherwise: what other webhooks add. The
// default in the CustomResourceDefinition is the same.
func DefaultExclude() []string {
	return []string{
		"istio-proxy", "istio-init", "istio-validation", "linkerd-proxy", "linkerd-init", "linkerd-network-validator",
		"daprd", "vault-agent", "vault-agent-init", "datadog-agent-injected",
	}
}

// Name of the InitProfile; "" for the nil Profile.
func (p *Profile) Name() string {
	if p == nil {
		return ""
	}
	return p.name
}

// SelectableByPods says whether Pods may name this profile, and choose where this one would hold: another profile, the
// containers and the flags.
func (p *Profile) SelectableByPods() bool {
	return p.spec.PodsMayChoose == nil || *p.spec.PodsMayChoose
}

// entrypoint is what the profile says about an image, nil if nothing.
func (p *Profile) entrypoint(image string) *v1alpha1.ImageEntrypoint {
	if imageconfig.CheckName(image) != nil {
		return nil
	}
	for i := range p.spec.Entrypoints {
		if e := &p.spec.Entrypoints[i]; matches(e.Image, image) && len(e.Entrypoint)+len(e.Cmd) > 0 {
			return e
		}
	}
	return nil
}

// matches says whether a pattern, in which * stands for any characters, is the whole of s.
func matches(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		// The leftmost place leaves the most for what follows.
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], after
	}
}
