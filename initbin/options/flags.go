package options

import "unsafe"

// flag is one flag of the init. Its row in flags is all there is of it: Parse, Options.Args and Help read the table.
type flag struct {
	name    string // after "--"
	letter  string // after "-"; empty: none
	value   string // an example of its value, for the help; empty: it takes none
	help    string
	section string   // of the help
	choices []string // the words of a choice, in the order of its values; the first is the default
	want    string   // what a choice takes, for Problem.Want
	field   uintptr  // where in Options its value is
	kind
	sets uint8 // the value of a constant
	printed
}

// sections of the help, in its order.
var sections = [...]string{"Ending", "Signals", "Programs", "Output"}

// kind is how a flag's value is read, stored and printed. The comment is the type of its field in Options.
type kind uint8

const (
	kindConstant    kind = iota // of one byte: flag.sets
	kindChoice                  // of one byte: a position in flag.choices
	kindCount                   // uint8: how often the flag is given
	kindDuration                // Duration
	kindSignal                  // Signal
	kindExitCode                // Codes
	kindRewrite                 // Rewrites
	kindPath                    // string: an absolute path
	kindDigest                  // string
	kindFile                    // string
	kindSingleChild             // none: it sets several fields
	kindPlatform                // none: Parse stops there, see NextPlatform
)

// wants are what the kinds of flags take, for Problem.Want; a choice has its own.
var wants = [...]string{
	kindDuration: "a duration such as 45s, 1m30s or a number of seconds",
	kindSignal:   "a signal such as SIGQUIT, QUIT, SIGRTMIN+3 or 3",
	kindExitCode: "an exit code from 0 to 255",
	kindRewrite:  "a rewrite such as TERM:QUIT, or TERM:0 to drop the signal",
	kindPath:     "an absolute path",
	kindDigest:   "a digest such as sha256: and 64 hexadecimal digits",
	kindPlatform: wantPlatform,
}

// printed is the form in which Args prints a flag.
type printed uint8

const (
	byName   printed = iota // --name=value
	byLetter                // -n value
	never                   // another flag prints the field
)

// flags are the init's, in the order in which Args prints them. Those with one letter are tini's and dumb-init's.
var flags = [...]flag{
	{section: "Ending", name: "grace", value: "45s", kind: kindDuration, field: unsafe.Offsetof(Options{}.Grace),
		help: "the time between the platform's stop signal and its SIGKILL; 10s by default"},
	{section: "Ending", name: "stop-signal", value: "SIGQUIT", kind: kindSignal, field: unsafe.Offsetof(Options{}.StopSignal),
		help: "a stop signal besides SIGTERM"},
	{section: "Ending", name: "linger", value: "5s", kind: kindDuration, field: unsafe.Offsetof(Options{}.Linger),
		help: "the time for the remaining processes when the program ends by itself"},
	{section: "Signals", name: "signal-target", value: "auto", kind: kindChoice, field: unsafe.Offsetof(Options{}.SignalTarget),
		choices: []string{Auto: "auto", Main: "main", Group: "group", All: "all"}, want: "auto, main, group or all",
		help: "which processes get signals: auto, main, group or all"},
	{section: "Signals", name: "group", letter: "g",
		kind: kindConstant, field: unsafe.Offsetof(Options{}.SignalTarget), sets: uint8(Group), printed: never,
		help: "the same as --signal-target=group"},
	{section: "Signals", name: "single-child", letter: "c", kind: kindSingleChild, printed: never,
		help: "the same as --signal-target=main"},
	{section: "Ending", name: "wait", value: "all",
		kind: kindChoice, field: unsafe.Offsetof(Options{}.WaitAll), choices: []string{"main", "all"}, want: "main or all",
		help: "run as long as any process does, for programs that daemonize"},
	{section: "Ending", name: "escalate", value: "all",
		kind: kindChoice, field: unsafe.Offsetof(Options{}.EscalateAll), choices: []string{"shells", "all"}, want: "shells or all",
		help: "notify every process near the end of the grace period"},
	{section: "Ending", name: "termination-message", value: "FILE", kind: kindPath, field: unsafe.Offsetof(Options{}.TerminationMessage),
		help: "the file that gets a line about why the program died"},
	{section: "Programs", name: "lookup-digest", value: "sha256:...", kind: kindDigest, field: unsafe.Offsetof(Options{}.LookupDigest),
		help: "the image that the program was looked up from: named when it cannot be started"},
	{section: "Programs", name: "procfile", value: "FILE", kind: kindFile, field: unsafe.Offsetof(Options{}.Procfile),
		help: "start the processes of a Procfile in addition to the main process"},
	{section: "Programs", name: "platform", value: "linux/arm64:2 a b", kind: kindPlatform, printed: never,
		help: "there, the program begins with these 2 words; may be repeated, ends with --"},
	{section: "Signals", name: "rewrite", letter: "r", value: "TERM:QUIT", kind: kindRewrite, field: unsafe.Offsetof(Options{}.Rewrites),
		help: "turn one signal into another, or drop it (TERM:0); may be repeated"},
	{section: "Ending", name: "remap-exit-code", letter: "e", value: "CODE",
		kind: kindExitCode, field: unsafe.Offsetof(Options{}.RemapExitCodes), printed: byLetter,
		help: "exit with 0 when the program exits with CODE; may be repeated"},
	{section: "Signals", name: "parent-death-signal", letter: "p", value: "SIGNAL",
		kind: kindSignal, field: unsafe.Offsetof(Options{}.ParentDeathSignal), printed: byLetter,
		help: "send the init itself a signal when its parent dies"},
	{section: "Programs", name: "subreaper", letter: "s",
		kind: kindConstant, field: unsafe.Offsetof(Options{}.Subreaper), sets: 1, printed: byLetter,
		help: "be a subreaper; not needed: the init is one where it is not PID 1"},
	{section: "Output", name: "warn-on-reap", letter: "w",
		kind: kindConstant, field: unsafe.Offsetof(Options{}.WarnOnReap), sets: 1, printed: byLetter,
		help: "log each orphan that is reaped"},
	{section: "Output", name: "verbose", letter: "v", kind: kindCount, field: unsafe.Offsetof(Options{}.Verbosity), printed: byLetter,
		help: "log what happens and each signal; -vv: each orphan too"},
	{section: "Output", name: "help", letter: "h", kind: kindConstant, field: unsafe.Offsetof(Options{}.Show), sets: uint8(ShowHelp),
		help: "print this text"},
	{section: "Output", name: "version", letter: "V", kind: kindConstant, field: unsafe.Offsetof(Options{}.Show), sets: uint8(ShowVersion),
		help: "print the version"},
	{section: "Output", name: "license", letter: "l", kind: kindConstant, field: unsafe.Offsetof(Options{}.Show), sets: uint8(ShowLicense),
		help: "print the licence"},
}

// named is the flag of that name, nil if there is none.
func named(name string) *flag {
	for i := range flags {
		if flags[i].name == name {
			return &flags[i]
		}
	}
	return nil
}

// IsFlag reports whether a flag of that name, without dashes, sets an option.
func IsFlag(name string) bool {
	f := named(name)
	return f != nil && f.kind != kindPlatform
}

// lettered is the flag with that letter, nil if there is none.
func lettered(letter string) *flag {
	for i := range flags {
		if flags[i].letter == letter {
			return &flags[i]
		}
	}
	return nil
}

// set is o with the flag set to value. written is the flag as it was given, for the problem if value is not what it takes.
func (f *flag) set(o Options, written, value string) (result Options, problem Problem) {
	ok := true
	field := unsafe.Add(unsafe.Pointer(&o), f.field)
	switch f.kind {
	case kindConstant:
		*(*uint8)(field) = f.sets
	case kindChoice:
		*(*uint8)(field), ok = position(f.choices, value)
	case kindCount:
		*(*uint8)(field) = min(*(*uint8)(field), 254) + 1
	case kindDuration:
		*(*Duration)(field), ok = ParseDuration(value)
	case kindSignal:
		*(*Signal)(field), ok = ParseSignal(value)
	case kindExitCode:
		var code int
		if code, ok = parseNumber(value, 255); ok {
			codes := (*Codes)(field)
			*codes = codes.With(uint8(code))
		}
	case kindRewrite:
		rewrites := (*Rewrites)(field)
		*rewrites, ok = rewrites.parse(value)
	case kindPath, kindDigest, kindFile:
		switch f.kind {
		case kindPath: // the init's own directory is not the program's
			ok = value == "" || value[0] == '/'
		case kindDigest:
			ok = value == "" || isDigest(value)
		}
		if ok {
			*(*string)(field) = value
		}
	case kindSingleChild:
		o.SignalTarget, o.OwnSession = Main, false
		if o.AtEnd == NotifyGroup {
			o.AtEnd = NotifyNone // dumb-init notifies the main process, which is the one that has ended
		}
	case kindPlatform:
		ok = false
	}
	if ok {
		return o, Problem{}
	}
	want := f.want
	if want == "" {
		want = wants[f.kind]
	}
	return o, Problem{Flag: written, Word: value, Want: want}
}

func position(words []string, word string) (at uint8, ok bool) {
	for i := range words {
		if words[i] == word {
			return uint8(i), true
		}
	}
	return 0, false
}
