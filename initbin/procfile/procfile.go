// Package procfile reads Procfiles: a line "name: command" for every program, comments and blank lines between.
package procfile

// Program is one line of a Procfile, as positions in its text: it holds no pointers.
type Program struct {
	Line                     int32
	nameBegin, nameEnd       int32
	commandBegin, commandEnd int32
}

// Name is the program's name.
func (p *Program) Name(text []byte) []byte { return text[p.nameBegin:p.nameEnd] }

// Command is the command for the shell.
func (p *Program) Command(text []byte) []byte { return text[p.commandBegin:p.commandEnd] }

// Reader reads a Procfile line by line. The zero value is at its beginning.
type Reader struct {
	at   int
	Line int // the number of the line read last
}

// Next is the next program. ok is false at the end of the text, or if problem describes a mistake in the line.
func (r *Reader) Next(text []byte) (p Program, ok bool, problem string) {
	for r.at < len(text) {
		begin, end := r.at, r.at
		for end < len(text) && text[end] != '\n' {
			end++
		}
		r.at = end + 1
		r.Line++
		begin, end = trim(text, begin, end)
		if begin == end || text[begin] == '#' {
			continue
		}
		p, problem = parse(text, begin, end)
		p.Line = int32(r.Line)
		return p, problem == "", problem
	}
	return p, false, ""
}

func parse(text []byte, begin, end int) (p Program, problem string) {
	colon := begin
	for colon < end && isName(text[colon]) {
		colon++
	}
	switch {
	case colon == end || text[colon] != ':':
		return p, "the line must have the form \"name: command\", with a name of letters, digits, - and _"
	case colon == begin:
		return p, "the name before the colon is missing"
	}
	commandBegin, commandEnd := trim(text, colon+1, end)
	if commandBegin == commandEnd {
		return p, "the command after the colon is missing"
	}
	for _, c := range text[commandBegin:commandEnd] {
		if c == 0 {
			return p, "the command contains a NUL byte"
		}
	}
	return Program{nameBegin: int32(begin), nameEnd: int32(colon), commandBegin: int32(commandBegin), commandEnd: int32(commandEnd)}, ""
}

// Same reports whether two programs have the same name.
func Same(text []byte, a, b *Program) bool { return string(a.Name(text)) == string(b.Name(text)) }

func isName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func trim(text []byte, begin, end int) (int, int) {
	for begin < end && isSpace(text[begin]) {
		begin++
	}
	for begin < end && isSpace(text[end-1]) {
		end--
	}
	return begin, end
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
