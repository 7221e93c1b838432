package inject

import (
	"slices"

	"github.com/podinit/podinit/initbin/options"
)

// stopSignal is what the runtime stops the container with: what the Pod says, or else what the image does; 0 if that is
// SIGTERM, or not known. If the image says it differently for each platform, it is 0 and these say it.
func (s *subject) stopSignal() (options.Signal, []platform) {
	if given, ok := options.ParseSignal(s.Lifecycle.StopSignal); ok {
		return unlessSigterm(given), nil
	}
	var all []platform
	for _, config := range s.image.configs {
		signal, _ := options.ParseSignal(config.StopSignal)
		if len(s.image.configs) == 1 {
			return unlessSigterm(signal), nil
		}
		all = append(all, platform{name: config.Platform.String(), stopSignal: unlessSigterm(signal)})
	}
	if len(s.image.configs) == 0 && wrapped(s.container) && !s.choice.noFlags {
		before, _, _ := options.Parse(options.Default(), s.Command[1:])
		if all, _, _ = unwrap(s.Command); before.StopSignal != 0 {
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

const sigterm = options.Signal(15)

// unlessSigterm is s, or 0 for SIGTERM, which starts the drain anyway.
func unlessSigterm(s options.Signal) options.Signal {
	if s == sigterm {
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
