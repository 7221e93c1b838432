package explain

import (
	"path"
	"regexp"
	"slices"
	"strings"
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
	// pid1 is who is PID 1, in a few words.
	pid1 string
	// reaches says whether the stop signal reaches the program, and why.
	reaches    Answer
	reachesWhy string
	// reaped says whether orphans are reaped, and why or by whom.
	reaped    Answer
	reapedWhy string
}

// facts are what a situation depends on besides the words.
type facts struct {
	// signal that asks the container to end.
	signal string
	// shared is who is PID 1 where that is none of the container's processes: "pause" or "the node's init".
	shared string
}

// shells are programs that run a script given after -c.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"}

// handlers are programs known to end in order at SIGTERM; ignorers do not handle it, so that the kernel drops it for
// PID 1; interpreters do not either, but what they run may. Of all others it is not known.
var (
	handlers = []string{
		"nginx", "java", "redis-server", "postgres", "mysqld", "mariadbd", "httpd", "apache2", "haproxy", "envoy", "gunicorn", "uvicorn",
		"php-fpm", "memcached", "mongod", "etcd", "ruby", "traefik", "caddy", "prometheus", "coredns", "kube-apiserver", "kube-proxy",
	}
	ignorers     = []string{"sleep", "tail", "cat", "tee", "yes", "dd"}
	interpreters = []string{"python", "python3", "node", "perl", "npm", "yarn"}
	// inits do nothing but what PID 1 must.
	inits = []string{"tini", "tini-static", "docker-init", "catatonit", "dumb-init"}
)

// kill is the signal that nobody handles.
const kill = "SIGKILL"

var killed = situation{reaches: No, reachesWhy: "the stop signal is SIGKILL: it is killed at once, and cannot end in order"}

// situationOf says what happens to a container that is started with these words, PID 1 being itself unless the facts say
// otherwise.
func situationOf(words []string, f facts) situation {
	s := started(words, f)
	if f.signal == kill {
		s.reaches, s.reachesWhy = killed.reaches, killed.reachesWhy
	}
	if f.shared == "" {
		return s
	}
	s.pid1 = f.shared
	s.reaped, s.reapedWhy = Yes, f.shared+" is PID 1, and reaps"
	// Where the first process is not PID 1 the kernel ends it if it has no handler, and the container with it.
	words = behindEnv(words)
	script, isShell := scriptOf(words)
	switch {
	case f.signal == kill, s.reaches == Yes, isShell && trap.MatchString(script), !isShell && isScript(words), isInit(words):
	case isShell && replaces(words[0], script) == Unknown:
		s.reaches, s.reachesWhy = Unknown, f.signal+" ends the first process, which is not PID 1: the program, if the shell replaces itself by it, or else the shell, and then what it has started is killed"
	case isShell && replaces(words[0], script) == No:
		s.reaches, s.reachesWhy = No, f.signal+" ends the shell, which is not PID 1, and the container with it: what the shell has started is killed"
	default:
		s.reaches, s.reachesWhy = Yes, "it is not PID 1 there, so "+f.signal+" ends it even without a handler"
	}
	return s
}

// isScript says whether words start a shell or what is most likely a script, which is in the image.
func isScript(words []string) bool {
	if len(words) == 0 {
		return false
	}
	program := path.Base(words[0])
	return slices.Contains(shells, program) || strings.HasSuffix(program, ".sh") || strings.Contains(program, "entrypoint")
}

func isInit(words []string) bool {
	return len(words) > 0 && slices.Contains(inits, path.Base(words[0]))
}

// started is the situation where the first process is PID 1.
func started(words []string, f facts) situation {
	words = behindEnv(words)
	if len(words) == 0 {
		return unknown("")
	}
	program := path.Base(words[0])
	if isInit(words) {
		return byInit(program, words[1:], f)
	}
	switch program {
	case "systemd", "init", "openrc-init", "runit", "runit-init", "my_init", "s6-svscan", "upstart":
		return situation{
			pid1: program, reaped: Yes, reapedWhy: program + " is a full init and reaps",
			reaches: Unknown, reachesWhy: program + " stops its services by its own rules; to systemd SIGTERM means something else than stop (it wants SIGRTMIN+3)",
		}
	case "supervisord":
		return situation{pid1: program, reaped: Yes, reapedWhy: "supervisord waits for every process", reaches: Yes, reachesWhy: "supervisord stops its programs, each by the signal that its configuration says"}
	case "argoexec":
		return situation{pid1: program, reaped: Yes, reapedWhy: "argoexec waits for every process", reaches: Yes, reachesWhy: "argoexec passes signals on to its child"}
	}
	if script, ok := scriptOf(words); ok {
		return byShell(program, script, f)
	}
	if isScript(words) {
		return situation{
			pid1:    program + ", a script or a shell, until it runs exec",
			reaches: Unknown, reachesWhy: "the script is in the image: if it ends with exec, the program is PID 1 and what is said of programs holds; otherwise the shell is, and " + f.signal + " stops there",
			reaped: Unknown, reapedWhy: "a shell reaps; the program that it runs with exec most likely does not",
		}
	}
	return byProgram(program, f)
}

func unknown(why string) situation {
	if why == "" {
		why = "what it runs is not known"
	}
	return situation{pid1: "unknown", reaches: Unknown, reachesWhy: why, reaped: Unknown, reapedWhy: why}
}

// byProgram is where the program itself is PID 1.
func byProgram(program string, f facts) situation {
	s := situation{
		pid1: program, reaped: No,
		reapedWhy: "a program reaps the children that it has started; orphans of others (of exec probes, of children's children) stay zombies, unless it was written to be PID 1",
	}
	switch {
	case slices.Contains(ignorers, program):
		s.reaches, s.reachesWhy = No, program+" does not handle "+f.signal+" by itself, and the kernel does not end PID 1 by a signal without a handler: it is killed when the grace period is over"
	case f.signal != "SIGTERM":
		s.reaches, s.reachesWhy = Unknown, "it gets "+f.signal+", which is asked for, so it most likely handles it"
	case slices.Contains(handlers, program):
		s.reaches, s.reachesWhy = Yes, program+" handles SIGTERM"
	case slices.Contains(interpreters, program):
		s.reaches, s.reachesWhy = Unknown, program+" itself does not handle SIGTERM, and the kernel does not end PID 1 by a signal without a handler: unless what it runs sets one, it is killed when the grace period is over"
	default:
		s.reaches, s.reachesWhy = Unknown, "it gets SIGTERM, and the kernel drops that for a PID 1 without a handler: only its run shows whether it has one"
	}
	return s
}

// byInit is where another init is PID 1, with the program after its flags.
func byInit(init string, args []string, f facts) situation {
	group := init == "dumb-init"
	rest := args
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		flag := rest[0]
		rest = rest[1:]
		if flag == "--" {
			break
		}
		switch {
		case init == "dumb-init" && (flag == "-c" || flag == "--single-child"):
			group = false
		case init != "dumb-init" && strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "--") && strings.Contains(flag, "g"):
			group = true
		}
		if slices.Contains([]string{"-e", "-p", "-r", "--rewrite"}, flag) && len(rest) > 0 {
			rest = rest[1:]
		}
	}
	s := situation{pid1: init + ", an init", reaped: Yes, reapedWhy: init + " reaps"}
	words := behindEnv(rest)
	script, isShell := scriptOf(words)
	const alone = " to the shell alone. It ends the shell, and what the shell has started is killed with the container"
	switch {
	case group:
		s.reaches, s.reachesWhy = Yes, init+" passes "+f.signal+" to the whole process group"
	case isShell && trap.MatchString(script):
		s.reaches, s.reachesWhy = Unknown, init+" passes "+f.signal+" to the shell, whose script sets a trap; what that does only its run shows"
	case isShell && replaces(words[0], script) == Unknown:
		s.reaches, s.reachesWhy = Unknown, "if the shell replaces itself by its last command, "+init+" passes "+f.signal+" to the program; if it stays,"+alone
	case isShell && replaces(words[0], script) == No:
		s.reaches, s.reachesWhy = No, init+" passes "+f.signal+alone
	case !isShell && isScript(words):
		s.reaches, s.reachesWhy = Unknown, "the script is in the image: if it ends with exec, "+init+" passes "+f.signal+" to the program; otherwise"+alone
	default:
		s.reaches, s.reachesWhy = Yes, init+" passes "+f.signal+" to the program, which is not PID 1, so it ends it even without a handler"
	}
	return s
}

// byShell is where a shell runs a script that is in the pod.
func byShell(shell, script string, f facts) situation {
	s := situation{pid1: shell + ", a shell", reaped: Yes, reapedWhy: shell + " reaps while it waits for a command"}
	stays := "the shell is PID 1 and waits for its command. It has no handler for " + f.signal + ", so the kernel drops it, and nothing passes it on: all is killed when the grace period is over"
	program := firstProgram(lastCommand(script))
	switch {
	case trap.MatchString(script):
		s.reaches, s.reachesWhy = Unknown, "the script sets a trap; what that does with "+f.signal+" only its run shows. A shell runs a trap when the command in the foreground has ended"
	case replaced(script):
		inner := byProgram(program, f)
		inner.pid1 = program + ", by exec from " + shell
		inner.reachesWhy = "exec puts the program in the shell's place; " + inner.reachesWhy
		return inner
	case replaces(shell, script) == Yes:
		inner := byProgram(program, f)
		inner.pid1 = program + ": bash replaces itself by a script's only command, if that is a plain one"
		return inner
	case replaces(shell, script) == Unknown && !plainCommand(script):
		s.reaches, s.reachesWhy = Unknown, "a part of the script runs exec: if it gets there, the program is PID 1 and what is said of programs holds; otherwise the shell is, and "+f.signal+" stops there"
		s.reaped, s.reapedWhy = Unknown, "a shell reaps; the program that it runs with exec most likely does not"
	case replaces(shell, script) == Unknown:
		inner := byProgram(program, f)
		s.pid1 = shell + " or " + program + ", by what " + shell + " is in the image"
		s.reaches, s.reachesWhy = Unknown, "dash (Debian, Ubuntu) stays, and then "+f.signal+" stops there; busybox (Alpine) and bash (after other commands only newer versions; Red Hat has it as sh) replace themselves by a plain last command, and then: "+inner.reachesWhy
		if inner.reaches == No {
			s.reaches = No
			s.reachesWhy = "whether the shell stays (dash in Debian) or replaces itself by its last command (busybox, bash): neither handles it. " + inner.reachesWhy
		}
		s.reaped, s.reapedWhy = Unknown, "a shell that stays reaps; a program in its place does not reap orphans of others"
	default:
		s.reaches, s.reachesWhy = No, stays
	}
	return s
}

// behindEnv is a command without what only prepares for it: env and its variables, gosu and its user, busybox.
func behindEnv(words []string) []string {
	for len(words) > 0 {
		switch path.Base(words[0]) {
		case "env":
			words = words[1:]
			for len(words) > 0 && (strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=")) {
				if slices.Contains([]string{"-u", "--unset", "-C", "--chdir"}, words[0]) && len(words) > 1 {
					words = words[1:]
				}
				words = words[1:]
			}
		case "gosu", "su-exec":
			words = words[min(2, len(words)):]
		case "busybox":
			words = words[1:]
		default:
			return words
		}
	}
	return nil
}

// scriptOf is what a shell runs with -c.
func scriptOf(words []string) (script string, ok bool) {
	if len(words) == 0 || !slices.Contains(shells, path.Base(words[0])) {
		return "", false
	}
	value := false // of the flag before
	for i, word := range words[1:] {
		switch {
		case value:
			value = false
		case slices.Contains([]string{"-o", "+o", "-O", "+O"}, word):
			value = true
		case !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "+"):
			return "", false // a file
		case !strings.HasPrefix(word, "--") && strings.Contains(word, "c"):
			rest := words[i+2:]
			for len(rest) > 0 && (rest[0] == "--" || strings.HasPrefix(rest[0], "-") && len(rest) > 1) {
				if rest[0] == "-o" && len(rest) > 1 {
					rest = rest[1:]
				}
				rest = rest[1:]
			}
			if len(rest) == 0 {
				return "", false
			}
			return rest[0], true
		}
	}
	return "", false
}

var (
	trap = regexp.MustCompile(`(^|[;&|\s])trap\s`)
	// branches is exec with a program, anywhere in a script.
	branches   = regexp.MustCompile(`(^|[;&|\s({])exec\s+[^<>&0-9\s]`)
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	// compound are words and signs of commands that a shell stays for.
	compound = regexp.MustCompile(`(^|[;&|\s(])(while|until|for|if|case|select|function)\s|[|(){}]|(^|[^&>])&\s*($|[^&>])`)
)

// plainText is a script in which no sign that a shell looks for is left within quotes or after a backslash, and no
// comment. What is substituted, as by $(...) and ${...}, is a part of a word.
func plainText(script string) string {
	script = substituted(script)
	var b strings.Builder
	var quote rune
	escaped, comment, previous := false, false, '\n'
	for _, r := range script {
		sign := strings.ContainsRune(";|&(){}<>#\n \t", r)
		switch {
		case comment:
			if r == '\n' {
				comment = false
				b.WriteRune(r)
			}
		case escaped && r == '\n':
			b.WriteByte(' ')
			escaped = false
		case escaped, quote != 0 && r != quote && (r != '\\' || quote == '\''):
			if sign {
				r = '_'
			}
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == quote:
			quote = 0
		case r == '\'' || r == '"':
			quote = r
		case r == '#' && strings.ContainsRune(" \t\n;&|", previous):
			comment = true
		default:
			b.WriteRune(r)
		}
		previous = r
	}
	return b.String()
}

// lastCommand is the last command of a script's list.
func lastCommand(script string) string {
	last := ""
	for _, line := range strings.FieldsFunc(plainText(script), func(r rune) bool { return r == '\n' || r == ';' }) {
		line = strings.TrimSpace(line)
		if line != "" {
			last = line
		}
	}
	if i := max(strings.LastIndex(last, "&& "), strings.LastIndex(last, "|| ")); i >= 0 {
		last = last[i+3:]
	}
	return strings.TrimSpace(last)
}

// replaced says whether the last thing that a script does is exec, so that the program takes the shell's place.
func replaced(script string) bool {
	last := lastCommand(script)
	return (strings.HasPrefix(last, "exec ") || strings.HasPrefix(last, "exec\t")) && !strings.HasSuffix(last, "&")
}

// substituted is a script in which no sign that a shell looks for is left within $(...) and ${...}.
func substituted(script string) string {
	var b strings.Builder
	depth := 0
	var previous rune
	single := false // within single quotes, where nothing is substituted
	for _, r := range script {
		switch {
		case depth == 0 && r == '\'':
			single = !single
		case single, previous == '\\':
		case strings.ContainsRune("({", r) && (depth > 0 || previous == '$'):
			depth++
			previous = r
			b.WriteByte('_')
			continue
		case depth > 0 && strings.ContainsRune(")}", r):
			depth--
			r = '_'
		}
		previous = r
		if depth > 0 {
			r = '_'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plainCommand says whether a script ends with a command that a shell may replace itself by.
func plainCommand(script string) bool {
	return !compound.MatchString(strings.ReplaceAll(plainText(script), "||", "&&")) && lastCommand(script) != ""
}

// replaces says whether a shell puts the last program that a script runs in its own place. Dash does so only for exec,
// busybox for any plain last command. Bash does so for an only command without redirections (execute_cmd.c and
// builtins/evalstring.c, should_suppress_fork); for the last one of a list it depends on its version.
func replaces(shell, script string) Answer {
	last := lastCommand(script)
	bash := path.Base(shell) == "bash"
	switch {
	case replaced(script):
		return Yes
	case !plainCommand(script) && branches.MatchString(plainText(script)):
		return Unknown
	case !plainCommand(script), bash && (strings.ContainsAny(last, "<>") || slices.Contains([]string{"!", "time"}, strings.Fields(last)[0])):
		return No
	case bash && last == strings.Trim(plainText(script), "; \t\n"):
		return Yes
	}
	return Unknown
}

// firstProgram is the program of a command, without exec and variables before it.
func firstProgram(command string) string {
	words := strings.Fields(command)
	for len(words) > 0 && (words[0] == "exec" || words[0] == "command" || assignment.MatchString(words[0]) || strings.HasPrefix(words[0], "-")) {
		words = words[1:]
	}
	if words = behindEnv(words); len(words) == 0 || strings.HasPrefix(words[0], "$") {
		return "the program"
	}
	return path.Base(words[0])
}
