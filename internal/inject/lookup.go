package inject

import (
	"encoding/json"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
)

// Lookup asks what the image of a container says. A plan says what it would want to know; whoever can find out makes
// another plan with the answers in its Setting.
type Lookup struct {
	// Container that has the image.
	Container string
	Query     imageconfig.Query
	// Required is set where the registry is worth asking. Otherwise only what is known already is of use: it may name a
	// stop signal.
	Required bool
}

// LookedUp is the answer to a Lookup.
type LookedUp struct {
	Image imageconfig.Image
	// Failure is why there is no Image; nil if there is one.
	Failure *imageconfig.Failure
}

// lookUp adds a question about a container to the plan.
func (p *Plan) lookUp(c *container) {
	if c.ImagePullPolicy == "Never" {
		return
	}
	required := len(c.Command) == 0 && !p.told(c) && !p.replacedInPlace
	if _, asked := p.askedBefore(c); asked || p.choice.noFlags && saysStopSignal(c) {
		required = true
	}
	reference, err := p.reference(c)
	if err != nil {
		return
	}
	q := imageconfig.Query{
		Reference: reference, Namespace: p.setting.Namespace, Fresh: c.ImagePullPolicy == "Always", Architectures: p.architectures,
		PullSecrets: p.pullSecrets,
	}
	p.Lookups = append(p.Lookups, Lookup{Container: c.Name, Query: q, Required: required})
}

// reference is an image's name, taken apart, or why it is none.
type reference struct {
	parsed imageconfig.Reference
	err    error
}

// reference of a container's image. It is taken apart once.
func (p *Plan) reference(c *container) (imageconfig.Reference, error) {
	if err := imageconfig.CheckName(c.Image); err != nil {
		return imageconfig.Reference{}, err // not even as a key
	}
	r, ok := p.references[c.Image]
	if !ok {
		r.parsed, r.err = imageconfig.ParseReference(c.Image)
		if p.references == nil {
			p.references = map[string]reference{}
		}
		p.references[c.Image] = r
	}
	return r.parsed, r.err
}

// told says whether the Pod or the profile says what the container's image runs.
func (p *Plan) told(c *container) bool {
	return c.Image != "" && (has(p.pod.Metadata.Annotations, v1alpha1.EntrypointAnnotation+c.Name) || p.profile.entrypoint(c.Image) != nil)
}

// lookedUp is what the container's image says according to its registry, for each platform if that differs; not ok if it
// is not known. The failure says why, if somebody has tried.
func (p *Plan) lookedUp(c *container) (configs []imageconfig.Config, digest string, failure *imageconfig.Failure, ok bool) {
	found, ok := p.setting.Images[c.Name]
	if !ok || found.Failure != nil {
		return nil, "", found.Failure, false
	}
	if configs, failure = found.Image.On(p.architectures); failure != nil {
		return nil, "", failure, false
	}
	return configs, found.Image.Digest, nil, true
}

// readLists reads once what holds for all containers.
func (p *Plan) readLists() {
	for _, s := range p.pod.Spec.ImagePullSecrets {
		p.pullSecrets = append(p.pullSecrets, s.Name)
	}
	p.architectures = architectures(p.pod.Spec, p.setting.Architectures)
	p.replacedInPlace = slices.ContainsFunc(p.pod.Spec.ReadinessGates, func(g readinessGate) bool { return g.ConditionType == "InPlaceUpdateReady" })
}

// architectures are those on which a Pod can run: what it asks for itself, or else those that there are; nil if that is
// not known.
func architectures(spec *spec, all []string) []string {
	const label = "kubernetes.io/arch"
	if own := spec.NodeSelector[label]; own != "" {
		return []string{own}
	}
	var own []string
	for _, term := range spec.Affinity.NodeAffinity.Required.Terms {
		i := slices.IndexFunc(term.MatchExpressions, func(r nodeSelectorRequirement) bool { return r.Key == label && r.Operator == "In" })
		if i < 0 {
			return all // terms are alternatives, and this one leaves it open
		}
		own = append(own, term.MatchExpressions[i].Values...)
	}
	if len(own) == 0 {
		return all
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// stopSignal is what the runtime stops the container with: what the Pod says, or else what the image does; 0 if that is
// SIGTERM, or not known. If the image says it differently for each platform, it is 0 and these say it.
func (p *Plan) stopSignal(c *container) (options.Signal, []platform) {
	if s, ok := options.ParseSignal(c.Lifecycle.StopSignal); ok {
		return unlessSigterm(s), nil
	}
	var all []platform
	if configs, _, _, known := p.lookedUp(c); known {
		for _, config := range configs {
			s, _ := options.ParseSignal(config.StopSignal)
			if len(configs) == 1 {
				return unlessSigterm(s), nil
			}
			all = append(all, platform{name: config.Platform.String(), stopSignal: unlessSigterm(s)})
		}
	} else if wrapped(c) && !p.choice.noFlags {
		before, _, _ := options.Parse(options.Default(), c.Command[1:])
		if all, _, _ = unwrap(c.Command); before.StopSignal != 0 {
			return before.StopSignal, nil
		}
	}
	for _, platform := range all {
		if platform.stopSignal != all[0].stopSignal {
			return 0, all
		}
	}
	if len(all) > 0 {
		return all[0].stopSignal, nil
	}
	return 0, nil
}

// saysStopSignal says whether a container came with a stop signal for the init. An earlier call may have had it from the
// registry, or the Pod's author has chosen it.
func saysStopSignal(c *container) bool {
	if !wrapped(c) {
		return false
	}
	before, _, _ := options.Parse(options.Default(), c.Command[1:])
	platforms, _, _ := unwrap(c.Command)
	return before.StopSignal != 0 || slices.ContainsFunc(platforms, func(p platform) bool { return p.stopSignal != 0 })
}

// unlessSigterm is s, or 0 for SIGTERM, which starts the drain anyway.
func unlessSigterm(s options.Signal) options.Signal {
	if s == 15 {
		return 0
	}
	return s
}

// withStopSignals are a program's platforms with their stop signals; if it is the same program on all, platforms without
// words.
func withStopSignals(platforms, stopSignals []platform) []platform {
	named := make([]platform, 0, max(len(platforms), len(stopSignals)))
	for _, p := range platforms {
		p.stopSignal = 0
		if i := slices.IndexFunc(stopSignals, func(s platform) bool { return s.name == p.name }); i >= 0 {
			p.stopSignal = stopSignals[i].stopSignal
		}
		named = append(named, p)
	}
	if len(platforms) == 0 {
		for _, s := range stopSignals {
			named = append(named, platform{name: s.name, stopSignal: s.stopSignal})
		}
	}
	return named
}

// wrapped says whether an earlier call has wrapped the container.
func wrapped(c *container) bool { return len(c.Command) > 0 && c.Command[0] == InitPath }

// askedBefore is what the status says of a wrapped container whose command an earlier call had from the registry. That
// call may have been another replica's, which knows what this one does not. It is repeated, and decides nothing but
// that the registry is asked again.
func (p *Plan) askedBefore(c *container) (v1alpha1.ContainerStatus, bool) {
	if !wrapped(c) {
		return v1alpha1.ContainerStatus{}, false
	}
	if p.before == nil {
		p.before = &v1alpha1.Status{}
		_ = json.Unmarshal([]byte(p.pod.Metadata.Annotations[v1alpha1.StatusAnnotation]), p.before) // it may be anything
	}
	s := p.before.Containers[c.Name]
	_, err := v1.NewHash(s.Digest)
	return s, s.Source == v1alpha1.SourceRegistry && err == nil
}

// pin is the container's image with the digest that was looked up, so that no node runs another; "" if it is to stay as
// it is. The tag stays, for people and policies to read.
func (p *Plan) pin(d *Decision) string {
	reference, err := p.reference(d.container)
	_, digest, _, known := p.lookedUp(d.container)
	if p.profile.spec.PinDigest != v1alpha1.PinOnLookup || d.Source != v1alpha1.SourceRegistry || !known || digest == "" || err != nil || reference.Pinned() {
		return ""
	}
	return d.container.Image + "@" + digest
}
