package main

// wrappers are the common forms of an entrypoint.
var wrappers = []*Wrapper{
	// No trap.
	{Name: "exec", Script: `exec {P}`},
	{Name: "foreground", Script: `{P}; true`},
	{Name: "foreground, exit code", Script: `{P}; exit $?`},
	{Name: "cd and foreground", Script: `cd / && {P}`},
	{Name: "foreground or fail", Script: `{P} || exit 3`},
	{Name: "set -e", Script: "set -e\necho starting\n{P}\necho ended"},
	{Name: "subshell", Script: `( {P} )`},
	{Name: "subshell and more", Script: `( cd / && {P} ); true`},
	{Name: "function", Script: "run() { {P}; }\nrun \"$@\"\nexit $?"},
	{Name: "background and wait", Script: `{P} & wait`, Background: true},
	{Name: "background, wait for it", Script: `{P} & wait $!; exit $?`, Background: true},
	{Name: "job control", Script: `set -m; {P} & wait`},
	{Name: "job control, foreground", Script: `set -m; {P}; exit $?`},
	{Name: "restart loop", Script: `until {P}; do sleep 0.3; done`, Again: true},
	{Name: "pipe to cat", Script: `{P} | cat`, Pipe: true},
	{Name: "pipe to tee", Script: `{P} 2>&1 | tee $D/tee`, Pipe: true},
	{Name: "pipe to a loop", Script: `{P} | while read -r l; do echo "$l"; done`, Pipe: true},
	{Name: "pipefail", Script: `set -o pipefail; {P} |& tee $D/tee`, Bash: true, Pipe: true},
	{Name: "pipe and exit", Script: `{P} 2>&1 | cat; exit 0`, Pipe: true},
	{Name: "process substitution", Script: `exec > >(tee $D/tee); {P}; true`, Bash: true, Pipe: true},
	{Name: "process substitution, exec", Script: `exec > >(tee $D/tee) 2>&1; exec {P}`, Bash: true, Pipe: true},
	{Name: "two programs", Script: `{P} & {Q} & wait`, Background: true},
	{Name: "two programs, one in the foreground", Script: `{P} & {Q}; true`, Background: true},
	{Name: "two programs, exec", Script: `{P} & exec {Q}`, Background: true},
	{Name: "two programs, wait -n", Script: `{P} & {Q} & wait -n; exit $?`, Bash: true, Background: true},

	// A trap that notifies the program.
	{Name: "forward", Script: `trap 'kill -{S} $pid' {S}; {P} & pid=$!; wait $pid; wait $pid`, On: Forwards, Background: true},
	{Name: "forward, slowly", Script: `trap 'sleep 0.1; kill -{S} $pid' {S}; {P} & pid=$!; wait $pid; wait $pid`, On: Forwards, Background: true},
	{Name: "forward, trap last", Script: `{P} & pid=$!; trap 'kill -{S} $pid' {S}; wait $pid; trap - {S}; wait $pid; exit $?`, On: Forwards, Background: true},
	{Name: "forward TERM", Script: `trap 'kill -TERM $pid; wait $pid' {S}; {P} & pid=$!; wait $pid`, On: Forwards, Sends: "TERM", Background: true},
	{Name: "forward TERM to jobs and wait", Script: `trap 'kill $(jobs -p) && wait' {S}; {P} & wait`, On: Forwards, Sends: "TERM", Background: true, Bash: true},
	{Name: "forward to both", Script: `trap 'kill -{S} $p $q' {S}; {P} & p=$!; {Q} & q=$!; wait $p $q; wait $p; wait $q`, On: Forwards, Background: true},
	{Name: "forward in a function", Script: "_term() {\n  kill -{S} \"$child\" 2>/dev/null\n}\ntrap _term {S}\n{P} &\nchild=$!\nwait \"$child\"\nwait \"$child\"\nexit $?", On: Forwards, Background: true},
	{Name: "forward and exit", Script: `trap 'kill -{S} $pid; exit 0' {S}; {P} & pid=$!; wait`, On: ForwardsExits, Background: true},
	{Name: "forward TERM and exit", Script: `trap 'kill -TERM $pid; exit 143' {S}; {P} & pid=$!; wait $pid`, On: ForwardsExits, Sends: "TERM", Background: true},
	{Name: "forward, wait once", Script: `trap 'kill -{S} $pid' {S}; {P} & pid=$!; wait $pid`, On: ForwardsExits, Background: true},
	{Name: "kill 0", Script: `trap 'trap "" TERM; kill 0; wait' {S}; {P} & wait`, On: Forwards, Sends: "TERM", Background: true, Group: true},

	// A trap that exits.
	{Name: "trap exit, background", Script: `trap 'exit 0' {S}; {P} & wait`, On: Exits, Background: true},
	{Name: "trap echo, background", Script: `trap 'echo "{L} stopping" >>$J' {S}; {P} & wait`, On: Exits, Background: true},
	{Name: "EXIT trap", Script: `trap 'echo "{L} cleanup" >>$J' EXIT; {P}`},
	{Name: "EXIT trap, background", Script: `trap 'echo "{L} cleanup" >>$J' EXIT; {P} & wait`, Background: true},
	{Name: "EXIT trap kills jobs", Script: `trap 'kill $(jobs -p)' EXIT; {P} & wait`, Background: true, Bash: true},
	{Name: "EXIT and signal trap", Script: `trap 'echo "{L} cleanup" >>$J' EXIT; trap 'exit 5' {S}; {P} & wait`, On: Exits, Background: true},

	// A trap that runs when the child in the foreground has ended.
	{Name: "trap echo, foreground", Script: `trap 'echo "{L} stopping" >>$J' {S}; {P}`, On: Defers},
	{Name: "trap flag, foreground", Script: `trap stop=1 {S}; {P}; [ -z "$stop" ] || echo "{L} stopped" >>$J`, On: Defers},
	{Name: "trap exit, foreground", Script: `trap 'exit 0' {S}; {P}; echo "{L} after" >>$J`, On: Defers},
	{Name: "trap kills jobs, foreground", Script: `trap 'kill $(jobs -p) 2>/dev/null' {S}; {P}; echo "{L} after" >>$J`, On: Defers},
	{Name: "worker loop", Script: `trap stop=1 {S}; while [ -z "$stop" ]; do {P}; done; echo "{L} stopped" >>$J`, On: Defers, Again: true},
	{Name: "worker loop, subshell", Script: `trap stop=1 {S}; while [ -z "$stop" ]; do ( {P}; echo "{L} job" >>$J ); done; echo "{L} stopped" >>$J`, On: Defers, Again: true},
	{Name: "pipe behind a trap", Script: `trap 'echo "{L} stopping" >>$J' {S}; {P} | tee $D/tee`, On: Defers, Pipe: true},

	// A signal that is ignored.
	{Name: "ignore", Script: `trap '' {S}; {P}; echo "{L} after" >>$J`, On: Ignores},
	{Name: "ignore, exit code", Script: `trap '' {S}; {P}; exit $?`, On: Ignores},
	{Name: "ignore, background", Script: `trap '' {S}; {P} & wait; echo "{L} after" >>$J`, On: Ignores, Background: true},
	{Name: "ignore, pipe", Script: `trap '' {S}; {P} | cat; exit 0`, On: Ignores, Pipe: true},

	// A signal that means something else.
	{Name: "reload", Script: `trap 'echo "{L} reload" >>$J' {S}; {P} & pid=$!; while kill -0 $pid 2>/dev/null; do wait $pid; done`, On: Handles, Background: true},
	{Name: "reload, foreground", Script: `trap 'echo "{L} reload" >>$J' {S}; {P}; exit $?`, On: Defers},

	// The main process ends by itself.
	{Name: "leave", Script: `{P} & until [ -e $D/leave ]; do sleep 0.1; done; exit 0`, Background: true, Leaves: true},

	// Programs that start programs. By their paths: busybox has some of these itself.
	{Name: "tini", Prefix: []string{"/usr/bin/tini", "--"}, Forwarder: true},
	{Name: "tini -g", Prefix: []string{"/usr/bin/tini", "-g", "--"}, Forwarder: true, Group: true},
	{Name: "dumb-init", Prefix: []string{"/usr/bin/dumb-init"}, Forwarder: true, Group: true},
	{Name: "unshare -pf", Prefix: []string{"/usr/bin/unshare", "-p", "-f"}},
	{Name: "unshare -f", Prefix: []string{"/usr/bin/unshare", "-f"}},
	{Name: "env", Prefix: []string{"/usr/bin/env", "A=1"}},
	{Name: "setsid", Prefix: []string{"/usr/bin/setsid", "-w"}},
	{Name: "timeout", Prefix: []string{"/usr/bin/timeout", "1000"}, Forwarder: true, Group: true},
}

// wrapper finds one by its name.
func wrapper(name string) *Wrapper {
	for _, w := range wrappers {
		if w.Name == name {
			return w
		}
	}
	panic("unknown wrapper " + name)
}
