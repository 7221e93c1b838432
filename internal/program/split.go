package program

import "strings"

// splitString is a value of env -S as words, by the rules of coreutils' env.c (env(1), "-S/--split-string usage in
// scripts"); not ok where env refuses it. A variable, as ${NAME}, stays as it is written: its value is not known here.
func splitString(text string) (words []string, ok bool) {
	var word strings.Builder
	var quote byte // 0 outside of quotes
	between := true
	add := func(c byte) {
		word.WriteByte(c)
		between = false
	}
	end := func() {
		if !between {
			words = append(words, word.String())
			word.Reset()
		}
		between = true
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case (c == '\'' || c == '"') && (quote == 0 || quote == c):
			if quote == 0 {
				quote = c
			} else {
				quote = 0
			}
			between = false
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0 && quote == 0:
			end()
		case c == '#' && between:
			return words, true
		case c == '\\' && (quote != '\'' || i+1 < len(text) && strings.IndexByte(`\'`, text[i+1]) >= 0):
			i++
			if i == len(text) {
				return nil, false
			}
			switch escaped := text[i]; {
			case strings.IndexByte(`"#$'\`, escaped) >= 0:
				add(escaped)
			case escaped == '_' && quote == 0:
				end()
			case escaped == '_':
				add(' ')
			case escaped == 'c' && quote == 0:
				end()
				return words, true
			case strings.IndexByte("fnrtv", escaped) >= 0:
				add("\f\n\r\t\v"[strings.IndexByte("fnrtv", escaped)])
			default:
				return nil, false
			}
		case c == '$' && quote != '\'':
			name, _, closed := strings.Cut(strings.TrimPrefix(text[i:], "${"), "}")
			if !strings.HasPrefix(text[i:], "${") || !closed || !isName(name) {
				return nil, false
			}
			word.WriteString(text[i : i+len("${}")+len(name)])
			between = false
			i += len("{}") + len(name)
		default:
			add(c)
		}
	}
	end()
	return words, quote == 0
}

// isName reports whether a text is the name of a variable.
func isName(text string) bool {
	for i := range len(text) {
		c := text[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}
