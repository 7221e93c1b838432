package program

import "strings"

// flags are a program's own.
type flags struct {
	// short are the letters, each with ":" behind it if it takes a value.
	short string
	// long are the names, each with "=" behind it if it takes a value in the next word.
	long []string
}

// next reads one word of flags and the value that the last of them takes, as getopt_long(3) does with "+", and calls see
// for each flag. A flag that is not known takes no value. The flags end, and more is false, at the first word that is none
// and behind "--".
func (f flags) next(words []string, see func(flag, value string)) (rest []string, more bool) {
	switch {
	case len(words) == 0:
		return nil, false
	case words[0] == "--":
		return words[1:], false
	case len(words[0]) < 2 || words[0][0] != '-':
		return words, false
	}
	word, rest := words[0], words[1:]
	if name, ok := strings.CutPrefix(word, "--"); ok {
		name, value, given := strings.Cut(name, "=")
		name, takes := f.named(name)
		if takes && !given && len(rest) > 0 {
			value, rest = rest[0], rest[1:]
		}
		see(name, value)
		return rest, true
	}
	for i := 1; i < len(word); i++ {
		letter := word[i : i+1]
		if at := strings.Index(f.short, letter); at < 0 || letter == ":" || !strings.HasPrefix(f.short[at+1:], ":") {
			see(letter, "")
			continue
		}
		value := word[i+1:]
		if value == "" && len(rest) > 0 {
			value, rest = rest[0], rest[1:]
		}
		see(letter, value)
		break
	}
	return rest, true
}

// named is the long flag with this name, or the only one that begins with it, and whether it takes a value.
func (f flags) named(name string) (full string, takes bool) {
	full, found := name, 0
	for _, long := range f.long {
		long, takesValue := strings.CutSuffix(long, "=")
		if long == name {
			return name, takesValue
		}
		if strings.HasPrefix(long, name) {
			full, takes = long, takesValue
			found++
		}
	}
	if found != 1 {
		return name, false
	}
	return full, takes
}
