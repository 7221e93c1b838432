package options

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	with := func(o Options, edit func(*Options)) Options { edit(&o); return o }
	d := Default()
	for name, tt := range map[string]struct {
		name  string
		words []string
		want  Options
		rest  int // how many words are left: the program
	}{
		"nothing":                       {"init", []string{"sleep", "1"}, d, 2},
		"flags end at --":               {"init", []string{"--grace=45s", "--", "--grace=1s"}, with(d, func(o *Options) { o.Grace = 45 * Second }), 1},
		"flags end at the program":      {"init", []string{"-v", "sh", "-c", "x", "-g"}, with(d, func(o *Options) { o.Verbosity = 1 }), 4},
		"a lone dash is a program":      {"init", []string{"-", "-v"}, d, 2},
		"an empty word is a program":    {"init", []string{"", "-v"}, d, 2},
		"bare numbers are seconds":      {"init", []string{"--grace=90", "--linger", "0"}, with(d, func(o *Options) { o.Grace, o.Linger = 90*Second, 0 }), 0},
		"stop signal":                   {"init", []string{"--stop-signal=SIGQUIT"}, with(d, func(o *Options) { o.StopSignal = 3 }), 0},
		"real-time stop signal":         {"init", []string{"--stop-signal=SIGRTMIN+3"}, with(d, func(o *Options) { o.StopSignal = 37 }), 0},
		"target":                        {"init", []string{"--signal-target=all"}, with(d, func(o *Options) { o.SignalTarget = All }), 0},
		"wait and escalate":             {"init", []string{"--wait=all", "--escalate", "all"}, with(d, func(o *Options) { o.WaitAll, o.EscalateAll = true, true }), 0},
		"wait and escalate, back again": {"init", []string{"--wait=all", "--wait=main", "--escalate=all", "--escalate=shells"}, d, 0},
		"paths":                         {"init", []string{"--termination-message=/dev/log", "--procfile", "P"}, with(d, func(o *Options) { o.TerminationMessage, o.Procfile = "/dev/log", "P" }), 0},
		"lookup digest":                 {"init", []string{"--lookup-digest=" + digest, "x"}, with(d, func(o *Options) { o.LookupDigest = digest }), 1},
		"no lookup digest":              {"init", []string{"--lookup-digest=" + digest, "--lookup-digest="}, d, 0},
		"tini's letters in one word": {"tini", []string{"-sgwvv", "-e143", "-e", "0", "-pSIGTERM", "--", "x"}, with(Named("tini"), func(o *Options) {
			o.Subreaper, o.SignalTarget, o.WarnOnReap, o.Verbosity = true, Group, true, 2
			o.RemapExitCodes, o.ParentDeathSignal = Codes{}.With(143).With(0), 15
		}), 1},
		"dumb-init's": {"dumb-init", []string{"-c", "-r", "15:3", "--rewrite=1:0", "--rewrite", "QUIT:SIGTERM", "-v", "x"}, with(Named("dumb-init"), func(o *Options) {
			o.AtEnd = NotifyNone
			o.SignalTarget, o.OwnSession, o.Verbosity = Main, false, 1
			o.Rewrites = Rewrites{}.With(15, 3).With(1, 0).With(3, 15)
		}), 1},
		"help":    {"init", []string{"-h"}, with(d, func(o *Options) { o.Show = ShowHelp }), 0},
		"version": {"init", []string{"--version"}, with(d, func(o *Options) { o.Show = ShowVersion }), 0},
		"-V":      {"init", []string{"-V"}, with(d, func(o *Options) { o.Show = ShowVersion }), 0},
		"license": {"init", []string{"-l"}, with(d, func(o *Options) { o.Show = ShowLicense }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, n, problem := Parse(Named(tt.name), tt.words)
			if err := problem.Err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if rest := len(tt.words) - n; rest != tt.rest {
				t.Errorf("%d words left, want %d", rest, tt.rest)
			}
		})
	}
}

func TestParseProblems(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"--nonsense"}, `--nonsense: no such flag; --help lists the flags; write a program with this name after --`},
		{[]string{"-x"}, `-x: no such flag; --help lists the flags; write a program with this name after --`},
		{[]string{"--grace"}, `--grace: a value is missing`},
		{[]string{"-vp"}, `-vp: a value is missing`},
		{[]string{"--procfile", "--", "x"}, `--procfile: a value is missing`},
		{[]string{"-p", "--", "x"}, `-p: a value is missing`},
		{[]string{"--verbose=1"}, `--verbose=1: this flag takes no value`},
		{[]string{"--grace=soon"}, `--grace: "soon" is not a duration such as 45s, 1m30s or a number of seconds`},
		{[]string{"--grace=-1s"}, `--grace: "-1s" is not a duration such as 45s, 1m30s or a number of seconds`},
		{[]string{"--stop-signal", "SIGNOPE"}, `--stop-signal: "SIGNOPE" is not a signal such as SIGQUIT, QUIT, SIGRTMIN+3 or 3`},
		{[]string{"--stop-signal=0"}, `--stop-signal: "0" is not a signal such as SIGQUIT, QUIT, SIGRTMIN+3 or 3`},
		{[]string{"-r", "TERM"}, `-r: "TERM" is not a rewrite such as TERM:QUIT, or TERM:0 to drop the signal`},
		{[]string{"-e256"}, `-e: "256" is not an exit code from 0 to 255`},
		{[]string{"--signal-target=tree"}, `--signal-target: "tree" is not auto, main, group or all`},
		{[]string{"--lookup-digest=sha256:1"}, `--lookup-digest: "sha256:1" is not a digest such as sha256: and 64 hexadecimal digits`},
		{[]string{"--lookup-digest=" + digest + "X"}, `--lookup-digest: "` + digest + `X" is not a digest such as sha256: and 64 hexadecimal digits`},
		{[]string{"--wait=none"}, `--wait: "none" is not main or all`},
		{[]string{"--escalate=none"}, `--escalate: "none" is not shells or all`},
	} {
		_, _, problem := Parse(Default(), tt.words)
		if diff := cmp.Diff(tt.want, problem.Error()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.words, diff)
		}
		if problem.Err() == nil {
			t.Errorf("%q: no error", tt.words)
		}
	}
}

// The container runtime starts the init before anything that could collect garbage exists.
func TestParseDoesNotAllocate(t *testing.T) {
	words := []string{"-sgvv", "-e", "143", "--grace=1m30s", "--rewrite=TERM:SIGRTMIN+3", "--termination-message=/x", "--lookup-digest=" + digest, "--", "x"}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Parse(Default(), words) }); n != 0 {
		t.Errorf("Parse allocates %v times", n)
	}
}

func TestEnviron(t *testing.T) {
	for _, tt := range []struct {
		name, entry string
		want        Options
	}{
		{"tini", "TINI_SUBREAPER=", Options{SignalTarget: Main, ShellFallback: true, AtEnd: NotifyNone, Subreaper: true}},
		{"docker-init", "TINI_KILL_PROCESS_GROUP=1", Options{SignalTarget: Group, ShellFallback: true, AtEnd: NotifyNone}},
		{"tini", "TINI_VERBOSITY=3", Options{SignalTarget: Main, ShellFallback: true, AtEnd: NotifyNone, Verbosity: 2}},
		{"tini", "DUMB_INIT_SETSID=0", Options{SignalTarget: Main, ShellFallback: true, AtEnd: NotifyNone}},
		{"dumb-init", "DUMB_INIT_SETSID=0", Options{SignalTarget: Main, ShellFallback: true, AtEnd: NotifyNone}},
		{"dumb-init", "DUMB_INIT_DEBUG=1", Options{SignalTarget: Group, OwnSession: true, ShellFallback: true, Verbosity: 2, AtEnd: NotifyGroup}},
		{"init", "TINI_SUBREAPER=1", Default()},
		{"init", "DUMB_INIT_DEBUG=1", Default()},
	} {
		if diff := cmp.Diff(tt.want, Named(tt.name).Environ(tt.name, tt.entry)); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", tt.name, tt.entry, diff)
		}
	}
}

func TestArgs(t *testing.T) {
	o := Default()
	o.Grace, o.StopSignal, o.Linger = 45*Second, 3, 90*Second
	o.SignalTarget, o.WaitAll, o.EscalateAll = Group, true, true
	o.TerminationMessage, o.Procfile = "/dev/termination-log", "Procfile"
	o.LookupDigest = digest
	o.Rewrites = o.Rewrites.With(15, 3).With(1, 0)
	o.RemapExitCodes = o.RemapExitCodes.With(143).With(0)
	o.ParentDeathSignal, o.Subreaper, o.WarnOnReap, o.Verbosity = 15, true, true, 2
	want := []string{"--grace=45s", "--stop-signal=SIGQUIT", "--linger=1m30s", "--signal-target=group", "--wait=all",
		"--escalate=all", "--termination-message=/dev/termination-log", "--lookup-digest=" + digest, "--procfile=Procfile",
		"--rewrite=SIGHUP:0", "--rewrite=SIGTERM:SIGQUIT", "-e", "0", "-e", "143", "-p", "SIGTERM", "-s", "-w", "-v", "-v"}
	if diff := cmp.Diff(want, o.Args()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, Default().Args()); diff != "" {
		t.Errorf("the defaults need no flags (-want +got):\n%s", diff)
	}
}

func TestDeadline(t *testing.T) {
	for grace, want := range map[Duration]Duration{
		0:           0,
		Second:      900 * Millisecond,
		30 * Second: 29 * Second,
		Hour:        Hour - Second,
	} {
		if got := (Options{Grace: grace}).Deadline(); got != want {
			t.Errorf("grace %v: deadline %v, want %v", grace, got, want)
		}
	}
}

func TestRewrites(t *testing.T) {
	r := Rewrites{}.With(15, 3).With(1, 0)
	for from, want := range map[Signal]Signal{15: 3, 1: 0, 2: 2, 64: 64} {
		if got := r.Of(from); got != want {
			t.Errorf("%v becomes %v, want %v", from, got, want)
		}
	}
}

func TestOutgoing(t *testing.T) {
	plain := Options{Rewrites: Rewrites{}.With(15, 3)}
	session := Options{Rewrites: Rewrites{}.With(21, 21).With(22, 0), OwnSession: true}
	for _, tt := range []struct {
		o        *Options
		from, to Signal
	}{{&plain, 15, 3}, {&plain, 20, 20}, {&session, 20, 19}, {&session, 22, 0}, {&session, 15, 15}} {
		if got := tt.o.Outgoing(tt.from); got != tt.to {
			t.Errorf("%v becomes %v, want %v", tt.from, got, tt.to)
		}
	}
}

// FuzzParse: what is accepted prints as flags that mean the same; what is refused names the flag.
func FuzzParse(f *testing.F) {
	f.Add("--grace=45s", "--stop-signal", "SIGQUIT", "--")
	f.Add("-sgvvw", "-e143", "-rTERM:0", "-pHUP")
	f.Add("--linger=1.5h", "--rewrite=64:1", "--procfile=", "x")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		words := []string{a, b, c, d}
		o, n, problem := Parse(Default(), words)
		if n < 0 || n > len(words) {
			t.Fatalf("read %d of %d words", n, len(words))
		}
		if problem.Err() != nil {
			if problem.Flag == "" || problem.Want == "" {
				t.Fatalf("a problem without flag or advice: %+v", problem)
			}
			return
		}
		o.OwnSession, o.ShellFallback, o.AtEnd = false, false, NotifyRemaining // only a name sets these
		back, n, problem := Parse(Default(), o.Args())
		if problem.Err() != nil || n != len(o.Args()) {
			t.Fatalf("%q is printed as %q, which is refused: %v", words, o.Args(), problem)
		}
		if diff := cmp.Diff(o, back); diff != "" {
			t.Errorf("%q is printed as %q, which means (-want +got):\n%s", words, o.Args(), diff)
		}
	})
}
