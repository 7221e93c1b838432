// Package options is the init's command line: what its flags mean, how they are read, and how they are printed.
//
// The init parses with it and the webhook prints with it, so that both sides agree by construction:
// for every valid o, Parse(Default(), o.Args()) gives o back.
//
// Parse runs in the init before there is a Go runtime, so it does not allocate, and its results are plain values.
// Everything else in the package may allocate.
package options

// Target says which processes get a signal that the init receives.
type Target uint8

const (
	// Auto gives a signal to the topmost processes that can handle it, each once: see docs/init.md.
	Auto Target = iota
	// Main gives it to the main process alone, as tini does.
	Main
	// Group gives it to the main process's group, as dumb-init does.
	Group
	// All gives it to every process of the container.
	All
)

// Options is everything the command line can say. The zero value is not useful; start from Default or Named.
type Options struct {
	// Grace is the time that the platform gives between its stop signal and its SIGKILL: Kubernetes'
	// terminationGracePeriodSeconds, Docker's --stop-timeout. The init itself is done a little earlier: see Deadline.
	Grace Duration

	// StopSignal starts the drain, as SIGTERM always does. 0: SIGTERM alone.
	StopSignal Signal

	// Linger is how long the remaining processes may take when the main process ends by itself.
	Linger Duration

	// SignalTarget says who gets the signals.
	SignalTarget Target

	// WaitAll keeps the init alive as long as any process lives, for programs that daemonize.
	WaitAll bool

	// EscalateAll notifies every process near the end of the grace period, not only what a shell waits for or protects.
	EscalateAll bool

	// TerminationMessage is the file that gets one line when something went wrong. Empty: standard error.
	TerminationMessage string

	// Procfile names a Procfile whose programs run beside the main process.
	Procfile string

	// Rewrites says what a signal becomes on its way.
	Rewrites Rewrites

	// RemapExitCodes are the codes of the main process that become 0.
	RemapExitCodes Codes

	// ParentDeathSignal is sent to the init when its parent dies, as tini's -p. 0: none.
	ParentDeathSignal Signal

	// Subreaper is tini's -s. The init is a subreaper by itself whenever it is not PID 1, so this asks for nothing more.
	Subreaper bool

	// WarnOnReap writes a line for every orphan that is reaped, as tini's -w.
	WarnOnReap bool

	// Verbosity is how much the init says: 0 nothing but problems, 1 what it does, 2 each signal and process.
	Verbosity uint8

	// OwnSession gives the main process a session of its own, as dumb-init does. Otherwise it has a process group of its own.
	OwnSession bool

	// ShellFallback runs a script that has no #! line with /bin/sh, as tini and dumb-init do (execvp(3)).
	// Container runtimes do not, so it is off under our own name.
	ShellFallback bool

	// AtEnd says who is told when the main process has ended and nobody is waited for: with a Linger of 0, or a Grace.
	AtEnd AtEnd

	// Show asks for a text instead of a program.
	Show Show
}

// AtEnd says who gets SIGTERM when the main process has ended and nobody is waited for.
type AtEnd uint8

const (
	// TellRest tells all that are left.
	TellRest AtEnd = iota
	// TellGroup tells the main process's group, as dumb-init does.
	TellGroup
	// TellNobody is tini's way.
	TellNobody
)

// Show is a text the command line may ask for.
type Show uint8

const (
	ShowNothing Show = iota
	ShowHelp
	ShowVersion
	ShowLicense
)

// Default is what holds under our own name when no flag is given.
//
// Grace is then what "docker stop" allows, since Kubernetes' own value always comes as a flag.
func Default() Options {
	return Options{Grace: 10 * Second, Linger: 5 * Second}
}

// Named is what holds when the init is called by name, the last element of argv[0]. As "tini", "docker-init" and
// "dumb-init" it keeps to what those do: nobody is waited for once the main process has ended.
func Named(name string) Options {
	switch name {
	case "tini", "tini-static", "docker-init":
		return Options{SignalTarget: Main, ShellFallback: true, AtEnd: TellNobody}
	case "dumb-init":
		return Options{SignalTarget: Group, OwnSession: true, ShellFallback: true, AtEnd: TellGroup}
	}
	return Default()
}

// Deadline is how long after the stop signal the init ends what is left: the grace period less a tenth, at most a
// second less, so that the exit code and the termination message are out before the platform's SIGKILL.
func (o Options) Deadline() Duration {
	return o.Grace - min(o.Grace/10, Second)
}

// Late is how long after the stop signal a grace period is nearly over: then those processes are notified that would
// otherwise only get SIGKILL. docs/init.md has the table that this is from.
func (d Duration) Late() Duration { return d - min(d/5, 3*Second) }

// Outgoing is what a signal becomes on its way, 0 if it is dropped. A session of its own has no shell that could
// continue it, so there the stop signals of a terminal would be lost: as dumb-init does, they become SIGSTOP.
func (o *Options) Outgoing(s Signal) Signal {
	const sigstop, sigtstp, sigttou = 19, 20, 22
	to := o.Rewrites.Of(s)
	if o.OwnSession && to == s && sigtstp <= s && s <= sigttou {
		return sigstop
	}
	return to
}

// Environ is o after one NAME=value entry of the environment. Only tini's and dumb-init's variables count, and only
// under their names: in a wrapped pod they belong to the image.
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
			o.OwnSession, o.SignalTarget, o.AtEnd = false, Main, TellNobody
		}
	}
	return o
}

// Rewrites maps signals to what they become. The zero value changes nothing.
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

// Of is what s becomes, 0 if it is to be dropped.
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

// Has says whether code is in the set.
func (c *Codes) Has(code uint8) bool { return c[code/64]&(1<<(code%64)) != 0 }

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }
