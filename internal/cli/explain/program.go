package explain

import (
	"slices"
	"strings"

	"github.com/podinit/podinit/internal/program"
)

// Answer to a question about a container. What only its run can show is Unknown.
type Answer string

const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// situation is what becomes of a container's signals and orphans.
type situation struct {
	// pid1 is the program that is PID 1, in a few words.
	pid1 string
	// reaches says whether the stop signal reaches the program, and why.
	reaches    Answer
	reachesWhy string
	// reaped says whether orphans are reaped, and why or by which process.
	reaped    Answer
	reapedWhy string
}

// facts are what a situation depends on in addition to the words.
type facts struct {
	// signal that asks the container to end.
	signal string
	// shared is PID 1 where that is not a process of the container: "pause" or "the node's init".
	shared string
}

// handlers are programs known to end in order at SIGTERM; ignorers do not handle it, so that the kernel drops it for
// PID 1; interpreters do not either, but what they run may. Of all others it is not known.
var (
	handlers = []string{
		"nginx", "java", "redis-server", "postgres", "mysqld", "mariadbd", "httpd", "apache2", "haproxy", "envoy", "gunicorn", "uvicorn",
		"php-fpm", "memcached", "mongod", "etcd", "ruby", "traefik", "caddy", "prometheus", "coredns", "kube-apiserver", "kube-proxy",
	}
	ignorers     = []string{"sleep", "tail", "cat", "tee", "yes", "dd"}
	interpreters = []string{"python", "python3", "node", "perl", "npm", "yarn"}
)

// kill is the signal that no process can handle.
const kill = "SIGKILL"

var killed = situation{reaches: No, reachesWhy: "the stop signal is SIGKILL: it is killed at once, and cannot shut down cleanly"}

// maxDepth bounds how many shells, each in the script of another, are looked into.
const maxDepth = 8

// situationOf says what happens to a container that is started with these words, PID 1 being itself unless the facts say
// otherwise.
func situationOf(words []string, f facts) situation {
	s := started(words, f, maxDepth)
	if f.signal == kill {
		s.reaches, s.reachesWhy = killed.reaches, killed.reachesWhy
	}
	if f.shared == "" {
		return s
	}
	s.pid1 = f.shared
	s.reaped, s.reapedWhy = Yes, f.shared+" is PID 1, and reaps"
	// Where the first process is not PID 1 the kernel ends it if it has no handler, and the container with it.
	words = program.Behind(words)
	script, isShell := program.ScriptOf(words)
	switch {
	case f.signal == kill, s.reaches == Yes, isShell && script.Traps(), !isShell && isScript(words), program.KindOf(words) == program.Init:
	case isShell && mayEndOtherwise(script):
		s.reaches, s.reachesWhy = Unknown, f.signal+" ends the first process, which is not PID 1: the program, if the shell replaces itself by "+
			"it, or else the shell, and then what it has started is killed"
	case isShell && script.Ending() == program.Stays:
		s.reaches, s.reachesWhy = No,
			f.signal+" ends the shell, which is not PID 1, and the container with it: what the shell has started is killed"
	default:
		s.reaches, s.reachesWhy = Yes, "it is not PID 1 there, so "+f.signal+" ends it even without a handler"
	}
	return s
}

// mayEndOtherwise says whether it is not known if a program replaces a script's shell.
func mayEndOtherwise(script program.Script) bool {
	ending := script.Ending()
	return ending == program.MayReplace || ending == program.MayExec
}

// isScript says whether words start a shell or what is most likely a script, which is in the image.
func isScript(words []string) bool {
	name := program.Name(words)
	return program.KindOf(words) == program.Shell || strings.HasSuffix(name, ".sh") || strings.Contains(name, "entrypoint")
}

// started is the situation where the first process is PID 1.
func started(words []string, f facts, depth int) situation {
	words = program.Behind(words)
	if len(words) == 0 || depth == 0 {
		return unknown("")
	}
	name := program.Name(words)
	switch program.KindOf(words) {
	case program.Init:
		return byInit(words, f)
	case program.System:
		return situation{
			pid1: name, reaped: Yes, reapedWhy: name + " is a full init and reaps",
			reaches: Unknown, reachesWhy: name + " stops its services by its own rules; systemd stops at SIGRTMIN+3, not at SIGTERM",
		}
	case program.Monitor:
		if inner := program.Monitored(words); len(inner) > 0 {
			return byMonitor(name, started(inner, f, depth-1), f)
		}
	case program.Shell:
		if script, ok := program.ScriptOf(words); ok {
			return byShell(script, f, depth)
		}
	}
	switch name {
	case "supervisord":
		return situation{pid1: name, reaped: Yes, reapedWhy: "supervisord waits for every process", reaches: Yes,
			reachesWhy: "supervisord stops its programs, each with the signal in its configuration"}
	case "argoexec":
		return situation{pid1: name, reaped: Yes, reapedWhy: "argoexec waits for every process", reaches: Yes,
			reachesWhy: "argoexec forwards signals to its child"}
	}
	if isScript(words) {
		return situation{
			pid1:    name + ", a script or a shell, until it runs exec",
			reaches: Unknown, reachesWhy: "the script is in the image: if it ends with exec, the program is PID 1, and handles signals as a " +
				"program without a shell does; otherwise the shell is, and " + f.signal + " stops there",
			reaped: Unknown, reapedWhy: "a shell reaps; the program that it runs with exec most likely does not",
		}
	}
	return byProgram(name, f)
}

func unknown(why string) situation {
	if why == "" {
		why = "its command is not known"
	}
	return situation{pid1: "unknown", reaches: Unknown, reachesWhy: why, reaped: Unknown, reapedWhy: why}
}

// byProgram is where the program itself is PID 1.
func byProgram(name string, f facts) situation {
	s := situation{
		pid1: name, reaped: No,
		reapedWhy: "a program reaps the children that it has started; orphans of others (of exec probes, of children's children) stay zombies, " +
			"unless it was written to be PID 1",
	}
	switch {
	case slices.Contains(ignorers, name):
		s.reaches, s.reachesWhy = No, name+" does not handle "+f.signal+
			" by itself, and the kernel does not end PID 1 by a signal without a handler: it is killed when the grace period is over"
	case f.signal != "SIGTERM":
		s.reaches, s.reachesWhy = Unknown, "it gets "+f.signal+", which the image or the pod asks for, so it most likely handles it"
	case slices.Contains(handlers, name):
		s.reaches, s.reachesWhy = Yes, name+" handles SIGTERM"
	case slices.Contains(interpreters, name):
		s.reaches, s.reachesWhy = Unknown, name+" itself does not handle SIGTERM, and the kernel does not end PID 1 by a signal without a "+
			"handler: unless what it runs sets one, it is killed when the grace period is over"
	default:
		s.reaches, s.reachesWhy = Unknown,
			"it gets SIGTERM, and the kernel drops SIGTERM for a PID 1 without a handler: only a run shows whether the program has a handler"
	}
	return s
}

// byMonitor is where a program such as timeout starts another one, which would be in this situation if it were PID 1.
func byMonitor(name string, inner situation, f facts) situation {
	s := situation{
		pid1: name, reaches: Yes,
		reachesWhy: name + " passes SIGTERM to its program, or, as busybox has it, replaces itself by it: " + inner.reachesWhy,
		reaped:     No, reapedWhy: name + " reaps its program; orphans of others stay zombies",
	}
	if f.signal != "SIGTERM" || inner.reaches != Yes {
		s.reaches = Unknown
	}
	if inner.reaped != No {
		s.reaped, s.reapedWhy = Unknown, s.reapedWhy+", unless, as busybox has it, "+name+" replaces itself by the program"
	}
	return s
}

// byInit is where another init is PID 1, with the program after its flags.
func byInit(words []string, f facts) situation {
	init := program.Name(words)
	started, group := program.Started(words)
	if init == "podinit" {
		f.shared = ""
		return withInit(started, f)
	}
	s := situation{pid1: init + ", an init", reaped: Yes, reapedWhy: init + " reaps"}
	started = program.Behind(started)
	script, isShell := program.ScriptOf(started)
	const alone = " to the shell alone. It ends the shell, and what the shell has started is killed with the container"
	switch {
	case group:
		s.reaches, s.reachesWhy = Yes, init+" passes "+f.signal+" to the whole process group"
	case isShell && script.Traps():
		s.reaches, s.reachesWhy = Unknown, init+" passes "+f.signal+" to the shell, whose script sets a trap; only a run shows what the trap does"
	case isShell && mayEndOtherwise(script):
		s.reaches, s.reachesWhy = Unknown,
			"if the shell replaces itself by its last command, "+init+" passes "+f.signal+" to the program; if it stays,"+alone
	case isShell && script.Ending() == program.Stays:
		s.reaches, s.reachesWhy = No, init+" passes "+f.signal+alone
	case !isShell && isScript(started):
		s.reaches, s.reachesWhy = Unknown,
			"the script is in the image: if it ends with exec, "+init+" passes "+f.signal+" to the program; otherwise"+alone
	default:
		s.reaches, s.reachesWhy = Yes, init+" passes "+f.signal+" to the program, which is not PID 1, so it ends it even without a handler"
	}
	return s
}

// byShell is where a shell runs a script that is in the pod.
func byShell(script program.Script, f facts, depth int) situation {
	shell, last := script.Shell, script.Last()
	s := situation{pid1: shell + ", a shell", reaped: Yes, reapedWhy: shell + " reaps while it waits for a command"}
	name, inner := "the program", byProgram("the program", f)
	if len(last) > 0 {
		name, inner = program.Name(last), started(last, f, depth-1)
	}
	switch ending := script.Ending(); {
	case script.Traps():
		s.reaches, s.reachesWhy = Unknown, "the script sets a trap; only a run shows what it does with "+f.signal+
			". A shell runs a trap when the command in the foreground has ended"
	case ending == program.Execs:
		inner.pid1 = name + ", by exec from " + shell
		inner.reachesWhy = "exec replaces the shell by the program; " + inner.reachesWhy
		return inner
	case ending == program.Replaces:
		inner.pid1 = name + ": bash replaces itself by a script's only command, if that is a simple command"
		return inner
	case ending == program.MayExec:
		s.reaches, s.reachesWhy = Unknown, "a part of the script runs exec: if it gets there, the program is PID 1, and handles signals as a "+
			"program without a shell does; otherwise the shell is, and "+f.signal+" stops there"
		s.reaped, s.reapedWhy = Unknown, "a shell reaps; the program that it runs with exec most likely does not"
	case ending == program.MayReplace:
		s.pid1 = shell + " or " + name + ", by what " + shell + " is in the image"
		s.reaches, s.reachesWhy = Unknown, "dash (Debian, Ubuntu) stays, and then "+f.signal+" stops there; busybox (Alpine) and bash (after "+
			"other commands only newer versions; Red Hat has it as sh) replace themselves by a simple last command, and then: "+inner.reachesWhy
		if inner.reaches == No {
			s.reaches = No
			s.reachesWhy = "whether the shell stays (dash in Debian) or replaces itself by its last command (busybox, bash): neither handles it. " +
				inner.reachesWhy
		}
		s.reaped, s.reapedWhy = Unknown, "a shell that stays reaps; a program in its place does not reap orphans of others"
		if inner.reaped == Yes {
			s.reaped, s.reapedWhy = Yes, "a shell that stays reaps, and so does "+name+" in its place"
		}
	default:
		s.reaches, s.reachesWhy = No, "the shell is PID 1 and waits for its command. It has no handler for "+f.signal+
			", so the kernel drops the signal, and nothing forwards it: all processes are killed when the grace period is over"
	}
	return s
}
