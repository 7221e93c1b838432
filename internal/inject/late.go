package inject

import (
	"encoding/json"
	"slices"

	"github.com/podinit/podinit/initbin/options"
)

// initFirst reads a container as if webhooks that put a program of their own before the init had been called before ours.
// Bank-Vaults, the Azure Key Vault injector and others make the whole command into args:
//
//	command: [/vault/vault-env], args: [/podinit/init, --grace=30s, --, app]
//
// The init is PID 1 then, and not a second one behind that program.
func (c *container) initFirst() {
	if len(c.Command) == 0 || !firstIsInit(c.Args) {
		return
	}
	words := make([]string, len(c.Args))
	for i, raw := range c.Args {
		if json.Unmarshal(raw, &words[i]) != nil {
			return // no valid Pod
		}
	}
	platforms, rest, ok := unwrap(words)
	if !ok {
		return
	}
	command := c.Command
	if wrapped(c) { // an init before that program, too: it stays
		before, program, ok := unwrap(c.Command)
		if !ok || haveWords(before) || haveWords(platforms) || len(program) == 0 {
			return
		}
	} else {
		command = prependInit(flagsOf(words), platforms, c.Command)
	}
	c.late, c.Command, c.Args = true, command, c.Args[len(words)-len(rest):]
}

func firstIsInit(args []json.RawMessage) bool {
	var first string
	return len(args) > 0 && json.Unmarshal(args[0], &first) == nil && first == InitPath
}

// flagsOf are the flags of the init at the beginning of a command, as they were written; none if they cannot be read.
func flagsOf(command []string) []string {
	_, n, problem := options.Parse(options.Default(), command[1:])
	if problem.Any() {
		return nil
	}
	flags := command[1 : 1+n]
	if n > 0 && flags[n-1] == "--" {
		flags = flags[:n-1]
	}
	return flags
}

// prependInit is a program with an init before it that runs it on each platform before that platform's own words.
func prependInit(flags []string, platforms []platform, program []string) []string {
	command := append([]string{InitPath}, flags...)
	own := haveWords(platforms)
	for _, p := range platforms {
		var words []string
		if own {
			words = slices.Concat(program, p.words)
		}
		command = append(command, options.Platform{Name: p.name, Words: len(words), StopSignal: p.stopSignal}.String())
		command = append(command, words...)
	}
	if command = append(command, "--"); !own {
		command = append(command, program...)
	}
	return command
}
