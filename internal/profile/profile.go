// Package profile knows what InitProfiles are: it reads, checks and completes them, and finds the one that applies to a Pod.
package profile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
)

// Profile is an InitProfile, checked and with every default filled in. It is shared, and not to be changed.
type Profile struct {
	// Spec of the InitProfile.
	Spec v1alpha1.InitProfileSpec
	// Init is what the Spec says about the init, without what is the Pod's own.
	Init options.Options
	// GraceFromPod is set where the grace period is the Pod's own.
	GraceFromPod bool

	name string
}

// New checks an InitProfile's spec, as the schema of its CustomResourceDefinition does, and fills in defaults: not every
// spec comes from an apiserver.
func New(name string, spec v1alpha1.InitProfileSpec) (*Profile, error) {
	p := &Profile{name: name, Spec: spec}
	init := &p.Spec.Init
	for _, choice := range []struct {
		field string
		value *string
		of    []string // the first is the default
	}{
		{"delivery", (*string)(&p.Spec.Delivery), []string{
			string(v1alpha1.DeliverByInitContainer), string(v1alpha1.DeliverByImageVolume), string(v1alpha1.DeliverAuto),
			string(v1alpha1.DeliverByNode),
		}},
		{"onProblem", (*string)(&p.Spec.OnProblem), []string{string(v1alpha1.ProblemSkip), string(v1alpha1.ProblemReject)}},
		{"pinDigest", (*string)(&p.Spec.PinDigest), []string{string(v1alpha1.PinNever), string(v1alpha1.PinOnLookup)}},
		{"init.signalTarget", (*string)(&init.SignalTarget), []string{
			string(v1alpha1.SignalTargetAuto), string(v1alpha1.SignalTargetMain),
			string(v1alpha1.SignalTargetGroup), string(v1alpha1.SignalTargetAll),
		}},
		{"init.wait", (*string)(&init.Wait), []string{string(v1alpha1.WaitMain), string(v1alpha1.WaitAll)}},
	} {
		if *choice.value == "" {
			*choice.value = choice.of[0]
		}
		if !slices.Contains(choice.of, *choice.value) {
			return nil, fmt.Errorf("spec.%s: %q is not %s", choice.field, *choice.value, strings.Join(choice.of, ", "))
		}
	}
	if p.Spec.RequireNode && !p.ByNode() {
		return nil, errors.New("spec.requireNode: true requires delivery: Node")
	}
	if p.ByNode() {
		switch {
		case p.Pins():
			return nil, errors.New("spec.pinDigest: OnLookup has no effect with delivery: Node, which changes no pod")
		case p.Spec.OnProblem == v1alpha1.ProblemReject:
			return nil, errors.New("spec.onProblem: Reject has no effect with delivery: Node: the nodes decide, when the pod is already admitted")
		}
	}
	if p.Spec.Containers.Exclude == nil {
		p.Spec.Containers.Exclude = defaultExclude()
	}
	if p.Spec.Exclude.Owners == nil {
		p.Spec.Exclude.Owners = defaultExcludeOwners()
	}
	for i := range p.Spec.Exclude.Owners {
		switch o := p.Spec.Exclude.Owners[i]; {
		case o.Group == "" && o.Kind == "" && len(o.Marks) == 0:
			return nil, fmt.Errorf("spec.exclude.owners[%d]: group, kind or marks must say which owner it is", i)
		case !slices.Contains([]v1alpha1.Comparison{"", v1alpha1.ComparesPod, v1alpha1.ComparesImage}, o.Compares):
			return nil, fmt.Errorf("spec.exclude.owners[%d].compares: %q is not %s, %s", i, o.Compares, v1alpha1.ComparesPod, v1alpha1.ComparesImage)
		}
	}

	flags := []string{
		"--signal-target=" + strings.ToLower(string(init.SignalTarget)),
		"--wait=" + strings.ToLower(string(init.Wait)),
	}
	if init.Linger != nil {
		flags = append(flags, "--linger="+init.Linger.Duration.String())
	}
	if p.GraceFromPod = init.Grace == "" || init.Grace == v1alpha1.GraceFromPod; !p.GraceFromPod {
		flags = append(flags, "--grace="+init.Grace)
	}
	for _, r := range init.RewriteSignals {
		flags = append(flags, "--rewrite="+r)
	}
	for _, code := range init.RemapExitCodes {
		flags = append(flags, "--remap-exit-code="+strconv.Itoa(int(code)))
	}
	var err error
	if p.Init, err = ReadFlags(options.Default(), flags); err != nil {
		return nil, fmt.Errorf("spec.init: %w", err)
	}
	p.Init.Verbosity = uint8(min(max(init.Verbosity, 0), 2))
	return p, nil
}

// builtIn has every default. Defaults are valid.
var builtIn, _ = New("", v1alpha1.InitProfileSpec{})

// Default applies where no InitProfile does.
func Default() *Profile { return builtIn }

// ReadFlags is o with flags of the init on top; nothing but flags.
func ReadFlags(o options.Options, words []string) (options.Options, error) {
	o, n, problem := options.Parse(o, words)
	switch {
	case problem.Any():
		return o, problem
	case n < len(words):
		return o, fmt.Errorf("%q is not a flag", words[n])
	case o.Show != options.ShowNothing:
		return o, errors.New("a flag prints a text instead of running the program")
	}
	return o, nil
}

// defaultExclude are the containers that are skipped unless a profile says otherwise: what other webhooks and controllers
// add to Pods. The default in the CustomResourceDefinition is the same.
func defaultExclude() []string {
	return []string{
		"istio-proxy", "istio-init", "istio-validation", // Istio
		"linkerd-proxy", "linkerd-init", "linkerd-network-validator", // Linkerd
		"kuma-sidecar", "kuma-init", "kuma-validation", // Kuma
		// Consul: one for each service of the Pod, with its name behind it; those before dataplanes, too.
		"consul-dataplane*", "consul-connect-inject-init*", "envoy-sidecar*", "consul-sidecar*", "copy-consul-bin",
		"queue-proxy",                                       // Knative
		"daprd",                                             // Dapr
		"vault-agent", "vault-agent-init", "copy-vault-env", // Vault: HashiCorp's, and Bank-Vaults'
		"otc-container", "opentelemetry-auto-instrumentation*", "otel-agent-source-container-clone", "otel-agent-attach-*", // OpenTelemetry
		"datadog-agent-injected", // Datadog
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
	return p.Spec.PodsMayChoose == nil || *p.Spec.PodsMayChoose
}

// Pins says whether images that are looked up are pinned.
func (p *Profile) Pins() bool { return p.Spec.PinDigest == v1alpha1.PinOnLookup }

// RequiresNode says whether the containers of the Pods must not start without the init.
func (p *Profile) RequiresNode() bool { return p != nil && p.Spec.RequireNode }

// ByNode says whether the nodes wrap the Pods, and the webhook changes none.
func (p *Profile) ByNode() bool { return p.Spec.Delivery == v1alpha1.DeliverByNode }

// Excludes says whether containers of that name are skipped.
func (p *Profile) Excludes(container string) bool {
	return slices.ContainsFunc(p.Spec.Containers.Exclude, func(pattern string) bool { return matchesWildcard(pattern, container) })
}

// Entrypoint is what the profile says about an image, nil if nothing.
func (p *Profile) Entrypoint(image string) *v1alpha1.ImageEntrypoint {
	if imageconfig.CheckName(image) != nil {
		return nil
	}
	for i := range p.Spec.Entrypoints {
		if e := &p.Spec.Entrypoints[i]; matchesWildcard(e.Image, image) && len(e.Entrypoint)+len(e.Cmd) > 0 {
			return e
		}
	}
	return nil
}

// matchesWildcard says whether a pattern, in which * stands for any characters, is the whole of s.
func matchesWildcard(pattern, s string) bool {
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
