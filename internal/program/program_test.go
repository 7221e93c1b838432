package program

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// behind are command lines with wrappers, and the program that they start: its words joined by "|".
var behind = []struct {
	words []string
	want  string
}{
	{[]string{"app", "-u", "x"}, "app|-u|x"},
	{[]string{"env"}, ""},
	{[]string{"env", "A=b"}, ""},
	{[]string{"env", "A=b", "B=", "echo", "C=d"}, "echo|C=d"},
	{[]string{"/usr/bin/env", "-i", "echo", "-i"}, "echo|-i"},
	{[]string{"env", "-", "A=b", "echo"}, "echo"},
	{[]string{"env", "-u", "FOO", "echo", "--", "x"}, "echo|--|x"},
	{[]string{"env", "-uFOO", "echo"}, "echo"},
	{[]string{"env", "-iu", "FOO", "echo"}, "echo"},
	{[]string{"env", "-u", "A", "-u", "B", "C=d", "echo"}, "echo"},
	{[]string{"env", "--unset=FOO", "echo"}, "echo"},
	{[]string{"env", "--unset", "FOO", "echo"}, "echo"},
	{[]string{"env", "--uns", "FOO", "echo"}, "echo"},
	{[]string{"env", "-C", "/", "echo"}, "echo"},
	{[]string{"env", "--chdir", "/", "A=b", "echo"}, "echo"},
	{[]string{"env", "--ignore-signal", "echo"}, "echo"},
	{[]string{"env", "--", "A=b", "echo"}, "echo"},
	{[]string{"env", "-S", "echo -- app"}, "echo|--|app"},
	{[]string{"env", "-S-u FOO A=b echo", "x"}, "echo|x"},
	{[]string{"env", "-iS", "-u FOO echo", "x"}, "echo|x"},
	{[]string{"env", "--split-string=A=b echo", "x"}, "echo|x"},
	{[]string{"env", "-S", "", "echo"}, "echo"},
	{[]string{"env", "-S", "-S 'echo a'", "b"}, "echo|a|b"},
	{[]string{"env", "-S", `echo 'a b' "c\_d" e\_f \#g # h`, "i"}, "echo|a b|c d|e|f|#g|i"},
	{[]string{"env", "-S", `echo 'it\'s \n' "\t\"" '' a""b x#y\c more`, "i"}, "echo|it's \\n|\t\"||ab|x#y|i"},
	{[]string{"nice", "env", "nohup", "env", "A=b", "nice", "-n", "5", "echo", "x"}, "echo|x"},
	{[]string{"nice", "-n5", "--adjustment", "1", "-1", "echo"}, "echo"},
	{[]string{"nohup", "--", "echo"}, "echo"},
	{[]string{"stdbuf", "-oL", "-e", "0", "--input=0", "echo"}, "echo"},
	{[]string{"ionice", "-c3", "-t", "echo", "-c"}, "echo|-c"},
	{[]string{"ionice", "-c", "2", "--classdata", "7", "echo"}, "echo"},
	{[]string{"taskset", "-c", "0", "echo"}, "echo"},
	{[]string{"taskset", "1", "echo"}, "echo"},
	{[]string{"chrt", "--other", "0", "echo"}, "echo"},
	{[]string{"setpriv", "--no-new-privs", "--pdeathsig", "keep", "--inh-caps=-all", "echo"}, "echo"},
	{[]string{"setpriv", "--nnp", "--", "echo"}, "echo"},
}

// elsewhere are the same for programs that not every machine has.
var elsewhere = []struct {
	words []string
	want  string
}{
	{[]string{"gosu", "root", "/sbin/init"}, "/sbin/init"},
	{[]string{"gosu"}, ""},
	{[]string{"gosu", "app"}, ""},
	{[]string{"/sbin/su-exec", "app:app", "tini", "--", "x"}, "tini|--|x"},
	{[]string{"s6-setuidgid", "app", "x"}, "x"},
	{[]string{"chpst", "-u", "app", "-P", "-m", "1", "x"}, "x"},
	{[]string{"chroot", "--userspec=app:app", "/srv", "x"}, "x"},
	{[]string{"setpriv", "--reuid", "app", "--regid=app", "--clear-groups", "x"}, "x"},
	{[]string{"busybox", "env", "-u", "A", "x"}, "x"},
	{[]string{"env", "-u", "FOO", "gosu", "app", "env", "A=b", "tini", "--", "x"}, "tini|--|x"},
	{[]string{"env", "-S", "echo ${A} ${b_1}"}, "echo|${A}|${b_1}"},
	{[]string{"env", "-S", "echo $A"}, ""},
	{[]string{"env", "-S", "echo 'a"}, ""},
	{[]string{"env", "-S", `echo \`}, ""},
	{[]string{"env", "-S", `echo \q`}, ""},
	{[]string{"env", "-S", `echo "\c"`}, ""},
	{[]string{"env", "-u"}, ""},
	{nil, ""},
	{[]string{""}, ""},
}

func TestBehind(t *testing.T) {
	for _, tt := range slices.Concat(behind, elsewhere) {
		if got := strings.Join(Behind(tt.words), "|"); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.words, got, tt.want)
		}
	}
	deep := append(slices.Repeat([]string{"env"}, 10*maxDepth), "tini")
	if got := Behind(deep); got != nil {
		t.Errorf("too many wrappers: %q", got)
	}
	if got := Behind(append([]string{"env"}, slices.Repeat([]string{"-S", ""}, 10*maxDepth)...)); got != nil {
		t.Errorf("too many words to split: %q", got)
	}
}

func TestKindOf(t *testing.T) {
	for command, want := range map[string]Kind{
		"": Other, "app": Other, "/usr/bin/tini -- x": Init, "pid1 x": Init, "podinit x": Init, "/lib/systemd/systemd": System, "/init": System,
		"/bin/bash -c x": Shell, "gosu root x": Wrapper, "timeout 1 x": Monitor,
	} {
		if got := KindOf(strings.Fields(command)); got != want {
			t.Errorf("%q: %d, want %d", command, got, want)
		}
	}
}

func TestStarted(t *testing.T) {
	for command, want := range map[string]struct {
		program string
		group   bool
	}{
		"tini":                                     {"", false},
		"tini app -g":                              {"app -g", false},
		"/tini -s -e 143 -p SIGTERM -- app -x":     {"app -x", false},
		"tini -vg app":                             {"app", true},
		"docker-init -ge143 -- app":                {"app", true},
		"catatonit -g -- app":                      {"app", true},
		"dumb-init -r 15:3 --rewrite 2 app":        {"app", true},
		"dumb-init --rewrite=15:3 --single app":    {"app", false},
		"dumb-init -vc app":                        {"app", false},
		"pid1 -g app -u app --timeout 5 app --x":   {"app --x", false},
		"podinit --grace=30s app -g":               {"app -g", false},
		"podinit --no-such-flag app":               {"", false},
		"app -g x":                                 {"", false},
		"tini -- gosu app dumb-init -- sh -c true": {"gosu app dumb-init -- sh -c true", false},
	} {
		program, group := Started(strings.Fields(command))
		if got := strings.Join(program, " "); got != want.program || group != want.group {
			t.Errorf("%q: %q, group %t; want %+v", command, got, group, want)
		}
	}
}

func TestMonitored(t *testing.T) {
	for command, want := range map[string]string{
		"timeout 5 app -k": "app -k",
		"timeout -k 1 -s KILL --preserve-status 5m app":  "app",
		"timeout --signal=INT --kill-after 1 -fp 5 -- x": "-- x", // the flags have ended already
		"timeout 5": "",
		"app 5 x":   "",
	} {
		if got := strings.Join(Monitored(strings.Fields(command)), " "); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

func TestBecomes(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
		sure  bool
	}{
		{[]string{"app"}, "app", true},
		{[]string{"env", "-u", "FOO", "gosu", "app", "tini", "--", "x"}, "tini|--|x", true},
		{[]string{"sh", "-c", "exec tini -- x"}, "tini|--|x", true},
		{[]string{"sh", "-ec", "mount -a; cd / && exec env -u A \\\n gosu root '/sbin/init' 2>&1 # now"}, "/sbin/init", true},
		{[]string{"env", "A=b", "sh", "-c", "exec sh -c 'exec \"tini\" -g x'"}, "tini|-g|x", true},
		{[]string{"sh", "-c", `exec env -S "tini -- x"`}, "tini|--|x", true},
		{[]string{"bash", "-c", "exec -a init tini x"}, "tini|x", true},
		{[]string{"bash", "-c", "/sbin/init"}, "/sbin/init", true},
		{[]string{"bash", "-c", "true; /sbin/init"}, "/sbin/init", false},
		{[]string{"sh", "-c", "/sbin/init"}, "/sbin/init", false},
		{[]string{"sh", "-c", "tini -- x | cat"}, "sh|-c|tini -- x | cat", true},
		{[]string{"sh", "-c", "exec tini -- x &"}, "sh|-c|exec tini -- x &", true},
		{[]string{"sh", "-c", "if true; then exec tini x; fi"}, "sh|-c|if true; then exec tini x; fi", true},
		{[]string{"sh", "-c", "echo 'exec tini'; sleep 1"}, "sleep|1", false},
		{[]string{"sh", "-c", `exec "$@"`, "--", "tini"}, `sh|-c|exec "$@"|--|tini`, true},
		{[]string{"sh", "-c", "exec 2>/dev/null"}, "sh|-c|exec 2>/dev/null", true},
		{[]string{"sh", "-c", ""}, "sh|-c|", true},
		{[]string{"sh", "-c"}, "sh|-c", true},
		{[]string{"sh", "run.sh"}, "sh|run.sh", true},
		{[]string{"timeout", "5", "tini", "x"}, "tini|x", false},
		{[]string{"timeout", "5"}, "timeout|5", true},
		{[]string{"env"}, "", true},
	} {
		becomes, sure := Becomes(tt.words)
		if got := strings.Join(becomes, "|"); got != tt.want || sure != tt.sure {
			t.Errorf("%q: %q, sure %t; want %q, %t", tt.words, got, sure, tt.want, tt.sure)
		}
	}
}

func TestEnding(t *testing.T) {
	for script, want := range map[string][2]Ending{ // of sh and of bash
		"":                               {Stays, Stays},
		"app":                            {MayReplace, Replaces},
		"app 'a;b' $(c; d)":              {MayReplace, Replaces},
		"A=b app;":                       {MayReplace, Replaces},
		"a; app":                         {MayReplace, MayReplace},
		"a || app":                       {MayReplace, MayReplace},
		"app >log":                       {MayReplace, Stays},
		"app '>'":                        {MayReplace, Replaces},
		"! app":                          {MayReplace, Stays},
		"app | tee":                      {Stays, Stays},
		"app & wait":                     {Stays, Stays},
		"while :; do app; done":          {Stays, Stays},
		"exec app":                       {Execs, Execs},
		"a && exec app":                  {Execs, Execs},
		"while :; do a; done\nexec\tapp": {Execs, Execs},
		"exec app &":                     {MayExec, MayExec},
		"if a; then exec app; fi; b | c": {MayExec, MayExec},
		"# exec app":                     {Stays, Stays},
	} {
		for i, shell := range []string{"sh", "bash"} {
			if got := NewScript(shell, script).Ending(); got != want[i] {
				t.Errorf("%s -c %q: %d, want %d", shell, script, got, want[i])
			}
		}
	}
}

func TestNamesSystem(t *testing.T) {
	for command, want := range map[string]bool{
		"/sbin/init": true, "entrypoint /sbin/init x": true, "entrypoint systemd": true, "entrypoint -v -- /usr/lib/systemd/systemd": true,
		"": false, "init": false, "app init": false, "app --run /sbin/init": false, "app -- --init=/sbin/init": false, "app serve systemd": false,
	} {
		if got := NamesSystem(strings.Fields(command)); got != want {
			t.Errorf("%q: %t", command, got)
		}
	}
}

// FuzzBecomes looks for panics and for what is left half done: words come from those that were given, in their order, and
// none of the programs that are looked through is left.
func FuzzBecomes(f *testing.F) {
	for _, tt := range slices.Concat(behind, elsewhere) {
		f.Add(strings.Join(tt.words, "\x00"))
	}
	for _, seed := range []string{"sh\x00-c\x00a && exec b 2>&1 &", "env\x00-S\x00sh -c 'exec tini \"$@\"'", "timeout\x001\x00sh\x00-ec\x00'\"\\", "tini\x00-e\x00--\x00x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, "\x00")
		before := slices.Clone(words)
		if k := KindOf(Behind(words)); k == Wrapper {
			t.Errorf("a wrapper is left: %q", Behind(words))
		}
		becomes, _ := Becomes(words)
		if KindOf(becomes) == Wrapper {
			t.Errorf("a wrapper is left: %q", becomes)
		}
		if size(becomes) > size(words) {
			t.Errorf("%q grew to %q", words, becomes)
		}
		Started(words)
		Monitored(words)
		NamesSystem(words)
		if diff := cmp.Diff(before, words); diff != "" {
			t.Errorf("the words have changed: %s", diff)
		}
	})
}

func size(words []string) (runes int) {
	for _, word := range words {
		runes += utf8.RuneCountInString(word)
	}
	return runes
}

func BenchmarkBecomes(b *testing.B) {
	script := strings.Repeat("echo 'a line of a script' >/dev/null && sleep 1 # and a comment\n", 16) + "exec app --flag"
	for name, words := range map[string][]string{"program": {"/app", "--flag"}, "env": {"env", "-u", "A", "B=c", "tini", "--", "app"}, "script of 1 KiB": {"sh", "-c", script}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Becomes(words)
			}
		})
	}
}

// Every tenant chooses an argv, and the whole node's containers wait for a decision about it.
func TestBoundedWork(t *testing.T) {
	var words []string
	for range maxDepth {
		words = append(append(words, "env"), slices.Repeat([]string{"-S", "-i"}, maxDepth-1)...)
	}
	words = append(words, slices.Repeat([]string{"x"}, 100_000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Becomes(words)
	runtime.ReadMemStats(&after)
	if copied := (after.TotalAlloc - before.TotalAlloc) >> 20; copied > 64 {
		t.Errorf("%d MiB are copied for an argv of %d words", copied, len(words))
	}
}
