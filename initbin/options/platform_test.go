package options

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	amd64, arm64 := Machine{Architecture: "amd64"}, Machine{Architecture: "arm64"}
	armv := func(v int) Machine { return Machine{Architecture: "arm", ARM: v} }
	several := []string{"--platform=linux/386:1", "x", "--platform=linux/arm/v6:1", "x", "--platform=linux/arm/v7:1", "x", "--platform=linux/amd64/v3:1", "x",
		"--platform=windows/amd64:1", "x", "--platform=linux/amd64:2", "--platform=linux/s390x:1", "--", "--platform=linux/arm64/v8:0:SIGQUIT", "--", "rest"}
	for name, tt := range map[string]struct {
		words   []string
		read    int // by Parse
		machine Machine
		name    string
		signal  Signal
		own     []string // the platform's words
		rest    []string
		lost    bool
	}{
		"none":                            {words: []string{"program", "--platform=linux/amd64:1", "x"}, machine: amd64, rest: []string{"program", "--platform=linux/amd64:1", "x"}},
		"behind --":                       {words: []string{"-v", "--", "--platform=linux/amd64:1", "x", "--"}, read: 2, machine: amd64, rest: []string{"--platform=linux/amd64:1", "x", "--"}},
		"behind flags":                    {words: []string{"-v", "--platform=linux/amd64:1", "x", "--", "y"}, read: 1, machine: amd64, name: "linux/amd64", own: []string{"x"}, rest: []string{"y"}},
		"nothing":                         {machine: amd64},
		"its own":                         {words: several, machine: amd64, name: "linux/amd64", own: []string{"--platform=linux/s390x:1", "--"}, rest: []string{"rest"}},
		"no words, a signal":              {words: several, machine: arm64, name: "linux/arm64/v8", signal: 3, rest: []string{"rest"}},
		"ARM, its version":                {words: several, machine: armv(7), name: "linux/arm/v7", own: []string{"x"}, rest: []string{"rest"}},
		"ARM, an older one":               {words: several, machine: armv(6), name: "linux/arm/v6", own: []string{"x"}, rest: []string{"rest"}},
		"ARM, only newer ones":            {words: several, machine: armv(5), name: "linux/arm/v6", own: []string{"x"}, rest: []string{"rest"}},
		"ARM without a variant is v7":     {words: []string{"--platform=linux/arm/v6:0", "--platform=linux/arm:1", "b", "--"}, machine: armv(7), name: "linux/arm", own: []string{"b"}},
		"none fits":                       {words: several, machine: Machine{Architecture: "riscv64"}, rest: []string{"rest"}, lost: true},
		"none fits, and none has words":   {words: []string{"--platform=linux/amd64:0:SIGINT", "--", "x"}, machine: arm64, rest: []string{"x"}},
		"32 bits where there is no other": {words: []string{"--platform=linux/arm/v6:1", "a", "--platform=linux/arm/v7:1", "b", "--platform=linux/amd64:1", "c", "--"}, machine: arm64, name: "linux/arm/v7", own: []string{"b"}},
		"386 where there is no other":     {words: []string{"--platform=linux/386:1", "a", "--"}, machine: amd64, name: "linux/386", own: []string{"a"}},
		"another variant, for want":       {words: []string{"--platform=linux/amd64/v3:1", "a", "--"}, machine: amd64, name: "linux/amd64/v3", own: []string{"a"}},
		"the first of two":                {words: []string{"--platform=linux/amd64:1", "a", "--platform=linux/amd64/v1:1", "b", "--"}, machine: amd64, name: "linux/amd64", own: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, problem := Choose(tt.words, tt.read, tt.machine)
			if err := problem.Err(); err != nil {
				t.Fatal(err)
			}
			if c.Name != tt.name || c.StopSignal != tt.signal || c.Lost != tt.lost {
				t.Errorf("got %+v", c)
			}
			if own := tt.words[c.First : c.First+c.Words]; !slices.Equal(own, tt.own) {
				t.Errorf("its words are %q, want %q", own, tt.own)
			}
			if rest := tt.words[c.Rest:]; !slices.Equal(rest, tt.rest) {
				t.Errorf("behind are %q, want %q", rest, tt.rest)
			}
			if n := testing.AllocsPerRun(10, func() { _, _ = Choose(tt.words, tt.read, tt.machine) }); n != 0 {
				t.Errorf("it allocates %v times", n)
			}
		})
	}
}

func TestPlatformProblems(t *testing.T) {
	const platform = ` is not a platform, the number of its words and perhaps its stop signal, such as linux/arm64:2 or linux/arm/v7:2:SIGQUIT`
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"--platform"}, `--platform: ` + wantPlatform},
		{[]string{"--platform", "linux/amd64:1"}, `--platform: ` + wantPlatform},
		{[]string{"--platform=linux/amd64", "x", "--"}, `--platform: "linux/amd64"` + platform},
		{[]string{"--platform=:1", "x", "--"}, `--platform: ":1"` + platform},
		{[]string{"--platform=linux/amd64:-1", "x", "--"}, `--platform: "linux/amd64:-1"` + platform},
		{[]string{"--platform=linux/amd64:1:NOPE", "x", "--"}, `--platform: "linux/amd64:1:NOPE"` + platform},
		{[]string{"--platform=linux/amd64:1:", "x", "--"}, `--platform: "linux/amd64:1:"` + platform},
		{[]string{"--platform=linux/amd64:3", "x", "--"}, `--platform=linux/amd64:3: fewer words follow than its count says`},
		{[]string{"--platform=linux/amd64:1", "x"}, `--platform: the -- that ends the platforms is missing`},
		{[]string{"--platform=linux/amd64:1", "x", "-v", "--"}, `--platform: "-v" is not another --platform, or the -- that ends them`},
	} {
		_, n, problem := Parse(Default(), tt.words)
		if problem.Any() || n != 0 {
			t.Errorf("%q: Parse has read %d: %v", tt.words, n, problem.Err())
		}
		_, problem = Choose(tt.words, 0, Machine{Architecture: "amd64"})
		if diff := cmp.Diff(tt.want, problem.Error()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.words, diff)
		}
	}
}

// FuzzNextPlatform: whatever comes, it ends, and what is accepted prints as it was meant.
func FuzzNextPlatform(f *testing.F) {
	f.Add("--platform=linux/amd64:1", "a", "--platform=linux/arm/v7:0:SIGQUIT", "--", "x")
	f.Add("--platform=linux/amd64:9", "", "", "", "")
	f.Add("--platform=a:1:64", "--", "--", "--", "--")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) {
		words := []string{a, b, c, d, e}
		for at := 0; ; {
			p, next, problem := NextPlatform(words, at)
			switch {
			case problem.Any():
				return
			case p.Name == "":
				if next != at+1 {
					t.Fatalf("%q: it ends at %d", words, next)
				}
				return
			case next != at+1+p.Words || next > len(words):
				t.Fatalf("%q: %+v at %d, then %d", words, p, at, next)
			}
			printed := slices.Concat([]string{p.String()}, words[at+1:next], []string{"--"})
			if again, n, problem := NextPlatform(printed, 0); again != p || n != 1+p.Words || problem.Any() {
				t.Fatalf("%q is printed as %q, which means %+v: %v", words, printed, again, problem.Err())
			}
			at = next
		}
	})
}
