// Package options is the init's command line: its flags, how they are read, and how they are printed.
//
// The init parses with it and the webhook prints with it, so that both sides agree by construction:
// for every valid o, Parse(Default(), o.Args()) gives o back.
//
// Parse runs in the init before there is a Go runtime, so it does not allocate, and its results are plain values.
// Everything else in the package may allocate.
package options

// Target is which processes get a signal that the init receives.
type Target uint8

const (
	// Auto sends it to the topmost processes that handle it, each once: see docs/init.md.
	Auto Target = iota
	// Main sends it to the main process alone, as tini does.
	Main
	// Group sends it to the main process's group, as dumb-init does.
	Group
	// All sends it to every process of the container.
	All
)

// Options are what the command line sets. The zero value is not useful; start from Default or Named.
type Options struct {
	// Grace is the time that the platform gives between its stop signal and its SIGKILL: Kubernetes'
	// terminationGracePeriodSeconds, Docker's --stop-timeout. The init itself is done a little earlier: see Deadline.
	Grace Duration

	// StopSignal starts the drain, as SIGTERM always does. 0: SIGTERM alone.
	StopSignal Signal

	// Linger is how long the remaining processes may take when the main process ends by itself.
	Linger Duration

	// SignalTarget is which processes get the signals.
	SignalTarget Target

	// WaitAll keeps the init alive as long as any process lives, for programs that daemonize.
	WaitAll bool

	// EscalateAll notifies every process near the end of the grace period, not only what a shell waits for or protects.
	EscalateAll bool

	// TerminationMessage is the file that gets one line when something went wrong. Empty: standard error.
	TerminationMessage string

	// LookupDigest is the digest of the image that the program was looked up from, where the pod does not name the program. A
	// program that cannot be started is reported with it, since the tag may stand for another image by then. Empty: not known.
	LookupDigest string

	// Procfile is the file whose processes run besides the main process. Empty: none.
	Procfile string

	// Rewrites are the signals that are sent as others, or dropped.
	Rewrites Rewrites

	// RemapExitCodes are the codes of the main process that become 0.
	RemapExitCodes Codes

	// ParentDeathSignal is sent to the init when its parent dies, as tini's -p. 0: none.
	ParentDeathSignal Signal

	// Subreaper is tini's -s. The init is a subreaper wherever it is not PID 1, so this changes nothing.
	Subreaper bool

	// WarnOnReap logs every orphan that is reaped, as tini's -w.
	WarnOnReap bool

	// Verbosity is how much the init logs: 0 only problems, 1 what it does and each signal, 2 each orphan too.
	Verbosity uint8

	// OwnSession gives the main process a session of its own, as dumb-init does. Otherwise it has a process group of its own.
	OwnSession bool

	// ShellFallback runs a script that has no #! line with /bin/sh, as tini and dumb-init do (execvp(3)).
	// Container runtimes do not, so it is off under the init's own name.
	ShellFallback bool

	// AtEnd is which processes get SIGTERM when the main process has ended and the init waits for none: with a Linger or a
	// Grace of 0.
	AtEnd AtEnd

	// Show is a text to print instead of running a program.
	Show Show
}

// AtEnd is which processes get SIGTERM when the main process has ended and the init waits for none.
type AtEnd uint8

const (
	// NotifyRemaining notifies every remaining process.
	NotifyRemaining AtEnd = iota
	// NotifyGroup notifies the main process's group, as dumb-init does.
	NotifyGroup
	// NotifyNone notifies none, as tini does.
	NotifyNone
)

// Show is a text that a flag prints.
type Show uint8

const (
	ShowNothing Show = iota
	ShowHelp
	ShowVersion
	ShowLicense
)

// Default are the options without flags, under the init's own name.
//
// Grace is what "docker stop" allows; podinit always sets the flag to Kubernetes' value.
func Default() Options {
	return Options{Grace: 10 * Second, Linger: 5 * Second}
}

// Named are the options without flags when the init is called by name, the last element of argv[0]. As "tini",
// "docker-init" and "dumb-init" it behaves as those do, and waits for no process once the main process has ended.
func Named(name string) Options {
	switch name {
	case "tini", "tini-static", "docker-init":
		return Options{SignalTarget: Main, ShellFallback: true, AtEnd: NotifyNone}
	case "dumb-init":
		return Options{SignalTarget: Group, OwnSession: true, ShellFallback: true, AtEnd: NotifyGroup}
	}
	return Default()
}

// Deadline is how long after the stop signal the init kills the remaining processes: the grace period less a tenth, at
// most a second less, so that the termination message is written and the init has exited before the platform's SIGKILL.
func (o Options) Deadline() Duration {
	return o.Grace - min(o.Grace/10, Second)
}

// Late is how long after the stop signal a grace period is nearly over: then processes are notified that would otherwise
// only get SIGKILL. docs/init.md has the measurements for this choice.
func (d Duration) Late() Duration { return d - min(d/5, 3*Second) }

// Outgoing is the signal that is sent for s, 0 if it is dropped. In a session of its own no shell could continue the main
// process, so the kernel would drop the stop signals of a terminal: they become SIGSTOP, as with dumb-init.
func (o *Options) Outgoing(s Signal) Signal {
	to := o.Rewrites.Of(s)
	if o.OwnSession && to == s && sigTSTP <= s && s <= sigTTOU {
		return sigSTOP
	}
	return to
}

// Environ is o after one NAME=value entry of the environment. Only tini's and dumb-init's variables are read, and only
// under their names: in a wrapped pod they are meant for the image's own init.
func (o Options) Environ(name, entry string) Options {
	switch name {
	case "tini", "tini-static", "docker-init":
		switch {
		case hasPrefix(entry, "TINI_SUBREAPER="):
			o.Subreaper = true
		case hasPrefix(entry, "TINI_KILL_PROCESS_GROUP="):
			o.SignalTarget = Group
		case hasPrefix(entry, "TINI_VERBOSITY="):
			if n, ok := parseNumber(entry[len("TINI_VERBOSITY="):], 255); ok {
				o.Verbosity = uint8(max(n, 1) - 1) // tini's 1 is its quiet default
			}
		}
	case "dumb-init":
		switch {
		case entry == "DUMB_INIT_DEBUG=1":
			o.Verbosity = 2
		case entry == "DUMB_INIT_SETSID=0":
			o.OwnSession, o.SignalTarget, o.AtEnd = false, Main, NotifyNone
		}
	}
	return o
}

// Rewrites maps signals to those that are sent for them. The zero value changes nothing.
type Rewrites [MaxSignal + 1]rewrite

// rewrite is 0 for no change, else the new signal plus one: a signal that is dropped becomes 0.
type rewrite uint8

// With is r with one more rewrite; to is 0 to drop the signal.
func (r Rewrites) With(from, to Signal) Rewrites {
	if from <= MaxSignal {
		r[from] = rewrite(to) + 1
	}
	return r
}

// Of is the signal that is sent for s, 0 if it is dropped.
func (r *Rewrites) Of(s Signal) Signal {
	if s <= MaxSignal && r[s] != 0 {
		return Signal(r[s] - 1)
	}
	return s
}

// Codes is a set of exit codes.
type Codes [4]uint64

// With is c with one more code.
func (c Codes) With(code uint8) Codes {
	c[code/64] |= 1 << (code % 64)
	return c
}

// Has reports whether code is in the set.
func (c *Codes) Has(code uint8) bool { return c[code/64]&(1<<(code%64)) != 0 }

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }
