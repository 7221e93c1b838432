package main

// Written are trees that somebody has met, each the shortest of its kind.
func Written() []*Tree {
	sh := func(shell, form, trap, name string) []Layer {
		return []Layer{{Wrapper: wrapper(name), Shell: shell, Form: form, Trap: trap}}
	}
	below := func(prefix string, inner []Layer) []Layer {
		return append([]Layer{{Wrapper: wrapper(prefix)}}, inner...)
	}
	program := func(kind string, shut float64, catch ...string) []Program {
		return []Program{{Name: "P", Kind: kind, Shut: shut, Catch: catch}}
	}
	natural := func(p []Program) []Program {
		p[0].Natural = true
		return p
	}
	trees := []*Tree{
		// Scripts that are shells by their first line.
		{ID: "shebang-trap-echo", Layers: sh("bash", "shebang", "TERM", "trap echo, foreground"), Programs: natural(program("handler", 0.2, "TERM")), Signal: "TERM", Finish: 0.5},
		{ID: "shebang-kept-waiting", Layers: sh("bash", "shebang", "TERM", "trap echo, foreground"), Programs: program("handler", 0.02, "TERM"), Signal: "TERM"},
		{ID: "file-kept-waiting", Layers: sh("bash", "file", "TERM", "trap echo, foreground"), Programs: program("handler", 0.02, "TERM"), Signal: "TERM"},
		{ID: "shebang-forward", Layers: sh("dash", "shebang", "TERM", "forward"), Programs: program("once", 0.7, "TERM"), Signal: "TERM"},
		// Signals that the program without an init never noticed.
		{ID: "usr1-below-sh", Layers: sh("dash", "-c", "", "foreground"), Programs: program("default", 0), Signal: "USR1"},
		{ID: "hup-below-bash", Layers: sh("bash", "-c", "", "foreground"), Programs: program("default", 0), Signal: "HUP"},
		{ID: "quit-below-sh", Layers: sh("dash", "-c", "", "foreground"), Programs: []Program{{Name: "P", Kind: "handler", Catch: []string{"TERM", "INT", "HUP"}, Reload: []string{"QUIT"}}}, Signal: "QUIT"},
		{ID: "usr1-main", Layers: sh("dash", "-c", "", "exec"), Programs: program("handler", 0, "TERM"), Signal: "USR1"},
		{ID: "hup-sigwait", Layers: sh("dash", "-c", "", "foreground"), Programs: []Program{{Name: "P", Kind: "sigwait", Catch: []string{"TERM"}, Reload: []string{"HUP"}}}, Signal: "HUP"},
		{ID: "winch-below-sh", Layers: sh("dash", "-c", "", "foreground"), Programs: program("default", 0), Signal: "WINCH"},
		// What a shell catches, it gets alone.
		{ID: "reload-bash", Layers: sh("bash", "-c", "HUP", "reload"), Programs: program("default", 0), Signal: "HUP"},
		{ID: "reload-dash", Layers: sh("dash", "-c", "HUP", "reload"), Programs: program("default", 0), Signal: "HUP"},
		{ID: "reload-busybox", Layers: sh("busybox", "-c", "HUP", "reload"), Programs: program("handler", 0.1, "TERM", "HUP"), Signal: "HUP"},
		{ID: "forward-int", Layers: sh("bash", "-c", "INT", "forward, slowly"), Programs: program("once", 0.3, "TERM", "INT", "QUIT"), Signal: "INT", Stop: true},
		{ID: "forward-quit", Layers: sh("bash", "-c", "QUIT", "forward, slowly"), Programs: program("once", 0.3, "TERM", "INT", "QUIT"), Signal: "QUIT", Stop: true},
		{ID: "forward-hup", Layers: sh("bash", "-c", "HUP", "forward, slowly"), Programs: program("once", 0.3, "TERM", "HUP"), Signal: "HUP", Stop: true},
		{ID: "int-below-bash", Layers: sh("bash", "-c", "", "foreground"), Programs: program("once", 0.3, "TERM", "INT"), Signal: "INT", Stop: true},
		// A clean shutdown that takes more than half of the grace period.
		{ID: "forward-slow", Layers: sh("bash", "-c", "TERM", "forward"), Programs: program("once", 0.75, "TERM"), Signal: "TERM"},
		{ID: "forward-85", Layers: sh("dash", "-c", "TERM", "forward"), Programs: program("once", 0.85, "TERM"), Signal: "TERM"},
		{ID: "jobs-and-wait", Layers: sh("bash", "-c", "TERM", "forward TERM to jobs and wait"), Programs: program("once", 0.75, "TERM"), Signal: "TERM"},
		{ID: "worker-loop", Layers: sh("bash", "-c", "TERM", "worker loop"), Programs: natural(program("default", 0)), Signal: "TERM", Finish: 0.7},
		{ID: "worker-loop-once", Layers: sh("dash", "-c", "TERM", "worker loop"), Programs: natural(program("once", 0.1, "TERM")), Signal: "TERM", Finish: 0.7},
		{ID: "trap-echo-slow", Layers: sh("bash", "-c", "TERM", "trap echo, foreground"), Programs: natural(program("once", 0.1, "TERM")), Signal: "TERM", Finish: 0.7},
		// A signal that is ignored on purpose.
		{ID: "ignore-handler", Layers: sh("bash", "-c", "TERM", "ignore"), Programs: natural(program("handler", 0, "TERM")), Signal: "TERM", Finish: 0.7},
		{ID: "ignore-default", Layers: sh("dash", "-c", "TERM", "ignore, exit code"), Programs: natural(program("default", 0)), Signal: "TERM", Finish: 0.7},
		// Below a shell that is dead.
		{ID: "pipe-tee", Layers: sh("dash", "-c", "", "pipe to tee"), Programs: program("handler", 0.2, "TERM"), Signal: "TERM"},
		{ID: "pipe-cat", Layers: sh("dash", "-c", "", "pipe and exit"), Programs: program("handler", 0.2, "TERM"), Signal: "TERM"},
		{ID: "pipefail", Layers: sh("bash", "-c", "", "pipefail"), Programs: program("handler", 0.2, "TERM"), Signal: "TERM"},
		{ID: "process-substitution", Layers: sh("bash", "-c", "", "process substitution"), Programs: program("handler", 0.2, "TERM"), Signal: "TERM"},
		// Nobody twice.
		{ID: "forward-and-exit", Layers: sh("bash", "-c", "TERM", "forward and exit"), Programs: program("once", 0.3, "TERM"), Signal: "TERM"},
		{ID: "forward-wait-once", Layers: sh("dash", "-c", "TERM", "forward, wait once"), Programs: program("once", 0.3, "TERM"), Signal: "TERM"},
		{ID: "leave-then-term", Layers: sh("dash", "-c", "", "leave"), Programs: program("once", 0.3, "TERM"), Signal: "TERM", Leave: true},
		{ID: "workers-told", Layers: sh("dash", "-c", "", "foreground"), Programs: program("tell", 0.3, "TERM"), Signal: "TERM"},
		// PID 1 of another namespace, and those that only wait for a child.
		{ID: "unshare-main", Layers: below("unshare -pf", sh("dash", "-c", "", "exec")), Programs: program("handler", 0.1, "TERM"), Signal: "TERM"},
		{ID: "unshare-below-sh", Layers: append(sh("dash", "-c", "", "foreground"), Layer{Wrapper: wrapper("unshare -pf")}), Programs: program("handler", 0.1, "TERM"), Signal: "TERM"},
		{ID: "unshare-sh-below-sh", Layers: append(append(sh("dash", "-c", "", "foreground"), Layer{Wrapper: wrapper("unshare -pf")}), sh("dash", "-c", "", "foreground")...), Programs: program("default", 0), Signal: "TERM"},
		{ID: "unshare-fork", Layers: below("unshare -f", sh("dash", "-c", "", "exec")), Programs: program("handler", 0.1, "TERM"), Signal: "TERM"},
		// What podinit is for.
		{ID: "default-main", Layers: sh("dash", "-c", "", "exec"), Programs: program("default", 0), Signal: "TERM"},
		{ID: "handler-below-sh", Layers: sh("dash", "-c", "", "foreground"), Programs: program("handler", 0.7, "TERM"), Signal: "TERM"},
		{ID: "int-main", Layers: sh("dash", "-c", "", "exec"), Programs: program("default", 0), Signal: "INT"},
	}
	for _, t := range trees {
		t.Times = 1
		t.Stop = t.Stop || t.Signal == "TERM"
	}
	return trees
}
