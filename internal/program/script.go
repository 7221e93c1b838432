package program

import (
	"regexp"
	"slices"
	"strings"
)

// Script is what a shell runs that is given behind -c.
type Script struct {
	// Shell is the shell's name.
	Shell string
	// Text is the script.
	Text string
	// plain is the script as plain gives it, and last its last command.
	plain, last string
}

// NewScript is a script that a shell of this name runs.
func NewScript(shell, text string) Script {
	s := Script{Shell: shell, Text: text, plain: plain(text)}
	s.last = lastCommand(s.plain)
	return s
}

// Ending is what becomes of a shell at the end of its script.
type Ending uint8

// The values of Ending.
const (
	// Stays: the shell waits for its last command.
	Stays Ending = iota
	// Execs: the last command begins with exec, which replaces the shell with a program.
	Execs
	// Replaces: the shell replaces itself with the program without exec.
	Replaces
	// MayReplace: it depends on which shell the image has under that name whether it does.
	MayReplace
	// MayExec: a part of the script, which may be run or not, execs.
	MayExec
)

// ScriptOf is the script of a shell's command line; not ok if that starts no shell, or one without -c.
func ScriptOf(words []string) (s Script, ok bool) {
	if KindOf(words) != Shell {
		return Script{}, false
	}
	value := false // of the flag before
	for i, word := range words[1:] {
		switch {
		case value:
			value = false
		case slices.Contains([]string{"-o", "+o", "-O", "+O"}, word):
			value = true
		case !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "+"):
			return Script{}, false // a file
		case !strings.HasPrefix(word, "--") && strings.Contains(word, "c"):
			rest := words[i+2:]
			for len(rest) > 0 && (rest[0] == "--" || strings.HasPrefix(rest[0], "-") && len(rest[0]) > 1) {
				if rest[0] == "-o" && len(rest) > 1 {
					rest = rest[1:]
				}
				rest = rest[1:]
			}
			if len(rest) == 0 {
				return Script{}, false
			}
			return NewScript(Name(words), rest[0]), true
		}
	}
	return Script{}, false
}

var (
	trap = regexp.MustCompile(`(^|[;&|\s])trap\s`)
	// branches is exec with a program, anywhere in a script.
	branches    = regexp.MustCompile(`(^|[;&|\s({])exec\s+[^<>&0-9\s]`)
	assignment  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	redirection = regexp.MustCompile(`^[0-9]*(>>|>\||[<>]&?|<>)`)
)

// Traps reports whether a script sets traps.
func (s Script) Traps() bool { return trap.MatchString(s.Text) }

// Ending is what becomes of the shell. Dash replaces itself only for exec, busybox for any simple last command. Bash does so
// for an only command without redirections (execute_cmd.c and builtins/evalstring.c, should_suppress_fork); for the last
// one of a list that depends on its version.
func (s Script) Ending() Ending {
	words := strings.Fields(s.last)
	if len(words) == 0 {
		return Stays
	}
	if words[0] == "exec" && !strings.HasSuffix(s.last, "&") && len(commandOf(words)) > 0 {
		return Execs
	}
	bash := s.Shell == "bash"
	switch simple := !compound(s.plain); {
	case !simple && strings.Contains(s.plain, "exec") && branches.MatchString(s.plain):
		return MayExec
	case !simple, bash && (strings.ContainsAny(s.last, "<>") || words[0] == "!" || words[0] == "time"):
		return Stays
	case bash && s.last == strings.Trim(s.plain, "; \t\n"):
		return Replaces
	}
	return MayReplace
}

// compound reports whether a plain script has words or signs of commands that a shell stays for.
func compound(text string) bool {
	text = strings.ReplaceAll(text, "||", "&&")
	if strings.ContainsAny(text, "|(){}") {
		return true
	}
	for i := range len(text) {
		if text[i] != '&' || i > 0 && strings.IndexByte("&>", text[i-1]) >= 0 || i+1 < len(text) && strings.IndexByte("&>", text[i+1]) >= 0 {
			continue
		}
		return true
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(";&| \t\n", r) }) {
		switch word {
		case "while", "until", "for", "if", "case", "select", "function":
			return true
		}
	}
	return false
}

// Last is the program of a script's last command and its arguments, behind exec and wrappers; nil if a variable says it.
func (s Script) Last() []string {
	words := commandOf(strings.Fields(s.last))
	for i := range words {
		words[i] = shown(words[i])
	}
	if words = Behind(words); len(words) == 0 || strings.HasPrefix(words[0], "$") {
		return nil
	}
	return words
}

// commandOf is the program of a simple command and its arguments, without exec, variables and redirections.
func commandOf(words []string) []string {
	builtins := map[string]flags{"exec": {short: "a:cl"}, "command": {short: "pvV"}}
	var command []string
	for len(words) > 0 {
		builtin, ok := builtins[words[0]]
		switch at := redirection.FindString(words[0]); {
		case at != "" && at == words[0]:
			words = words[min(2, len(words)):]
		case at != "", len(command) == 0 && assignment.MatchString(words[0]):
			words = words[1:]
		case len(command) == 0 && ok:
			words = words[1:]
			for more := true; more; {
				words, more = builtin.next(words, func(_, _ string) {})
			}
		default:
			command, words = append(command, words[0]), words[1:]
		}
	}
	return command
}

// signs are what a shell looks for outside of quotes, and hidden what stands for them inside: characters for private use.
const (
	signs  = ";|&(){}<>#\n \t"
	hidden = 0xF0000
)

func hide(r rune) rune {
	if strings.ContainsRune(signs, r) {
		return r + hidden
	}
	return r
}

// shown is a word with the signs that hide has taken away.
func shown(word string) string {
	return strings.Map(func(r rune) rune {
		if r > hidden && strings.ContainsRune(signs, r-hidden) {
			return r - hidden
		}
		return r
	}, word)
}

// plain is a script without quotes, backslashes and comments, in which the signs that were quoted are hidden. What is
// substituted, as by $(...) and ${...}, is a part of a word.
func plain(script string) string {
	script = substituted(script)
	var b strings.Builder
	b.Grow(len(script))
	var quote rune
	escaped, comment, previous := false, false, '\n'
	for _, r := range script {
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
			b.WriteRune(hide(r))
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

// substituted is a script in which no sign that a shell looks for is left within $(...) and ${...}.
func substituted(script string) string {
	var b strings.Builder
	b.Grow(len(script))
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

// lastCommand is the last command of a plain script's list.
func lastCommand(text string) string {
	last := ""
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ';' }) {
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
