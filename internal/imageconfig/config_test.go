package imageconfig

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want Config
	}{
		"Docker": {
			raw: `{"architecture":"arm","variant":"v7","os":"linux","rootfs":{"type":"layers"},"history":[{"created_by":"x"}],
				"config":{"User":"65532","Env":["A=b","PATH=/bin"],"Entrypoint":["/e"],"Cmd":["c","d"],"WorkingDir":"/w","StopSignal":"SIGQUIT","ArgsEscaped":true}}`,
			want: Config{
				Platform: Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, Entrypoint: []string{"/e"}, Cmd: []string{"c", "d"},
				StopSignal: "SIGQUIT", User: "65532", WorkingDir: "/w", Path: "/bin",
			},
		},
		"nothing":     {raw: `{}`, want: Config{}},
		"null config": {raw: `{"os":"linux","config":null}`, want: Config{Platform: Platform{OS: "linux"}}},
		"null words":  {raw: `{"config":{"Entrypoint":null,"Cmd":[]}}`, want: Config{Cmd: []string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, raw := range map[string]string{
		"no JSON":     `<html>`,
		"truncated":   `{"config":{"Cmd":["a`,
		"other types": `{"config":{"Cmd":"a b"}}`,
		"too long":    `{"config":{"Cmd":["` + strings.Repeat("a", maxWords) + `"]}}`,
		"too many":    `{"config":{"Cmd":[""` + strings.Repeat(`,""`, maxWords/16) + `]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Parse([]byte(raw)); err == nil {
				t.Errorf("read as %.100v", got)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	words := func(words ...string) []string { return words }
	for name, c := range map[string]struct {
		entrypoint, cmd []string
		ownArgs         bool
		command, args   []string
		err             error
	}{
		"entrypoint and cmd":               {words("/e"), words("c"), false, words("/e"), words("c"), nil},
		"entrypoint and own args":          {words("/e"), words("c"), true, words("/e"), nil, nil},
		"entrypoint alone":                 {words("/e"), nil, false, words("/e"), nil, nil},
		"cmd alone":                        {nil, words("c", "d"), false, nil, words("c", "d"), nil},
		"cmd and own args":                 {nil, words("c"), true, nil, nil, nil},
		"own args alone":                   {nil, nil, true, nil, nil, nil},
		"nothing":                          {nil, nil, false, nil, nil, ErrNoProgram},
		"empty is nothing":                 {words(), words(), false, nil, nil, ErrNoProgram},
		"an empty word is no entrypoint":   {words(""), words("c"), false, nil, words("c"), nil},
		"an empty word among others stays": {words("", "x"), nil, false, words("", "x"), nil, nil},
		"dollars": {
			words("/bin/sh", "-c", "echo $HOME $$ $(X)"), words("$$"), false,
			words("/bin/sh", "-c", "echo $$HOME $$$$ $$(X)"), words("$$$$"), nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Entrypoint: c.entrypoint, Cmd: c.cmd}
			command, args, err := config.Process(c.ownArgs)
			if diff := cmp.Diff([][]string{c.command, c.args}, [][]string{command, args}); diff != "" || !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v; command and args (-want +got):\n%s", err, c.err, diff)
			}
		})
	}
}

// What is derived for one container must not change what the next one gets.
func TestProcessSharesNothing(t *testing.T) {
	config := Config{Entrypoint: []string{"/e", "plain"}, Cmd: []string{"c"}}
	command, args, _ := config.Process(false)
	command[1], args[0] = "changed", "changed"
	_ = append(command, "more")
	if diff := cmp.Diff(Config{Entrypoint: []string{"/e", "plain"}, Cmd: []string{"c"}}, config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Entrypoint":["/bin/sh","-c","$$"],"Cmd":["a"],"Env":["PATH=/bin"]}}`))
	f.Add([]byte(`{"config":{"Cmd":[null]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		config, err := Parse(raw)
		if err != nil {
			return
		}
		if n := config.Size(); n > maxWords {
			t.Errorf("%d bytes got through", n)
		}
		command, args, err := config.Process(false)
		if err != nil {
			return
		}
		// The kubelet's $$ is one $, and no $( is left that it would expand.
		entrypoint := config.Entrypoint
		if len(command) == 0 {
			entrypoint = nil
		}
		for i, word := range append(command, args...) {
			var want string
			if i < len(entrypoint) {
				want = entrypoint[i]
			} else {
				want = config.Cmd[i-len(entrypoint)]
			}
			if got := strings.ReplaceAll(word, "$$", "$"); got != want || strings.Count(word, "$")%2 != 0 {
				t.Errorf("%q becomes %q", want, got)
			}
		}
	})
}

// An image that starts a shell is written into a container so that the kubelet's expansion gives it back.
func ExampleConfig_Process() {
	config, _ := Parse([]byte(`{"os": "linux", "architecture": "amd64",
		"config": {"Entrypoint": ["/bin/sh", "-c", "exec app --pid $$"], "Cmd": ["--serve"]}}`))

	command, args, _ := config.Process(false)
	fmt.Printf("%q %q\n", command, args)

	command, args, _ = config.Process(true) // the container has args of its own
	fmt.Printf("%q %q\n", command, args)
	// Output:
	// ["/bin/sh" "-c" "exec app --pid $$$$"] ["--serve"]
	// ["/bin/sh" "-c" "exec app --pid $$$$"] []
}
