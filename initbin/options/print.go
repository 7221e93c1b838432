package options

import "strconv"

// Args prints o as flags: what Parse needs on top of Default to give o back, in a fixed order, without "--".
func (o Options) Args() []string {
	d := Default()
	args := []string{}
	add := func(differs bool, words ...string) {
		if differs {
			args = append(args, words...)
		}
	}
	add(o.Grace != d.Grace, "--grace="+o.Grace.String())
	add(o.StopSignal != d.StopSignal, "--stop-signal="+o.StopSignal.String())
	add(o.Linger != d.Linger, "--linger="+o.Linger.String())
	add(o.SignalTarget != d.SignalTarget, "--signal-target="+targets[o.SignalTarget])
	add(o.WaitAll, "--wait=all")
	add(o.EscalateAll, "--escalate=all")
	add(o.TerminationMessage != "", "--termination-message="+o.TerminationMessage)
	add(o.Procfile != "", "--procfile="+o.Procfile)
	for from := range o.Rewrites {
		if o.Rewrites[from] != 0 {
			to := Signal(o.Rewrites[from] - 1)
			add(true, "--rewrite="+Signal(from).String()+":"+to.String())
		}
	}
	for code := range 256 {
		if o.RemapExitCodes.Has(uint8(code)) {
			add(true, "-e", strconv.Itoa(code))
		}
	}
	add(o.ParentDeathSignal != 0, "-p", o.ParentDeathSignal.String())
	add(o.Subreaper, "-s")
	add(o.WarnOnReap, "-w")
	for range o.Verbosity {
		args = append(args, "-v")
	}
	switch o.Show {
	case ShowHelp:
		args = append(args, "--help")
	case ShowVersion:
		args = append(args, "--version")
	case ShowLicense:
		args = append(args, "--license")
	}
	return args
}

// String prints the flag of a platform; its words follow.
func (p Platform) String() string {
	flag := platformFlag + "=" + p.Name + ":" + strconv.Itoa(p.Words)
	if p.StopSignal != 0 {
		flag += ":" + p.StopSignal.String()
	}
	return flag
}
