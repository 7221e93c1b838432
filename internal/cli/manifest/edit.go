package manifest

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// editor changes what a YAML document says, and nothing else in its text. The parser says where a node begins; where it
// ends is read from the text (YAML 1.2, chapters 6 to 8). Whoever uses it checks what the new text means: if it is not
// what was wanted, there are other ways.
type editor struct {
	text string
	// lines are the offsets at which lines begin.
	lines   []int
	style   style
	newline string
	changes []change
}

// change puts a text in the place of another.
type change struct {
	from, to int
	text     string
}

// place is where a node stands.
type place struct {
	// column of the block mapping or sequence that the node is an entry of, from 0; what is deeper belongs to the node.
	// -1 for the document's own node.
	column int
	// flow is set inside of brackets.
	flow bool
	// key that the node belongs to in a block mapping; nil in a sequence.
	key *yaml.Node
}

// errUnclear is returned for text that this editor does not find its way in.
var errUnclear = errors.New("the text cannot be changed in place")

// edit is text, in which have becomes want. root is the document's own node.
func edit(text string, root *yaml.Node, have, want value) (changed string, err error) {
	e := &editor{text: text, lines: lineStarts(text), newline: "\n"}
	if strings.Contains(text, "\r\n") {
		e.newline = "\r\n"
	}
	e.style = styleOf(root)
	if err := e.node(root, place{column: -1}, have, want); err != nil {
		return "", err
	}
	return e.result()
}

// result applies the changes.
func (e *editor) result() (string, error) {
	slices.SortStableFunc(e.changes, func(a, b change) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, c := range e.changes {
		if c.from < at {
			return "", errUnclear
		}
		b.WriteString(e.text[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.WriteString(e.text[at:])
	if !strings.HasSuffix(e.text, "\n") { // removing the last lines adds no line break at the end
		return strings.TrimSuffix(b.String(), e.newline), nil
	}
	return b.String(), nil
}

// lineStarts are the offsets of lines, broken where the YAML parser breaks them.
func lineStarts(text string) []int {
	starts := []int{0}
	for i, r := range text {
		switch r {
		case '\n', '\u0085', '\u2028', '\u2029':
			starts = append(starts, i+utf8.RuneLen(r))
		case '\r':
			if !strings.HasPrefix(text[i:], "\r\n") {
				starts = append(starts, i+1)
			}
		}
	}
	return starts
}

// styleOf is how the document indents already; where it does not show, as kubectl does.
func styleOf(root *yaml.Node) style {
	s := style{mapping: -1, sequence: -1}
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 {
			for i := 0; i+1 < len(n.Content); i += 2 {
				key, v := n.Content[i], n.Content[i+1]
				if v.Style&yaml.FlowStyle != 0 || len(v.Content) == 0 || v.Line == key.Line && v.Anchor == "" {
					continue
				}
				switch by := v.Content[0].Column - key.Column; {
				case v.Kind == yaml.MappingNode && s.mapping < 0 && by > 0:
					s.mapping = by
				case v.Kind == yaml.SequenceNode && s.sequence < 0 && v.Anchor == "" && v.Column >= key.Column:
					s.sequence = v.Column - key.Column
				}
			}
		}
		for _, c := range n.Content {
			if s.mapping < 0 || s.sequence < 0 {
				look(c)
			}
		}
	}
	look(root)
	if s.mapping < 0 {
		s.mapping = 2
	}
	if s.sequence < 0 {
		s.sequence = 0
	}
	return s
}

// node makes a node say want.
func (e *editor) node(n *yaml.Node, at place, have, want value) error {
	if have.equal(want) {
		return nil
	}
	before := len(e.changes)
	err := errUnclear
	switch {
	case n.Kind == yaml.MappingNode && have.kind == '{' && want.kind == '{':
		err = e.mapping(n, at, have, want)
	case n.Kind == yaml.SequenceNode && have.kind == '[' && want.kind == '[':
		err = e.sequence(n, at, have, want)
	}
	if err != nil {
		e.changes = e.changes[:before]
		err = e.replace(n, at, want)
	}
	return err
}

// mapping makes a mapping's members say want, adds and removes some.
func (e *editor) mapping(n *yaml.Node, at place, have, want value) error {
	if len(n.Content) == 0 && !at.flow {
		return errUnclear // a block mapping in its place reads better
	}
	at.flow = at.flow || n.Style&yaml.FlowStyle != 0
	inner := place{flow: at.flow}
	if !at.flow {
		inner.column = n.Content[0].Column - 1
	}
	left := 0
	var removed []int
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			left++
			continue
		}
		inner.key = key
		had, ok := have.get(key.Value)
		wanted, keep := want.get(key.Value)
		switch {
		case ok && !keep:
			removed = append(removed, i)
			continue
		case ok:
			if err := e.node(v, inner, had, wanted); err != nil {
				return err
			}
		}
		left++
	}
	if left == 0 {
		return errUnclear
	}
	remove := e.removeMembers
	if at.flow {
		remove = func(n *yaml.Node, removed []int, at place) error { return e.removeFlow(n, 2, removed, at) }
	}
	if err := remove(n, removed, inner); err != nil {
		return err
	}
	for i, key := range want.keys {
		had, ok := have.get(key)
		if ok && (explicit(n, key) || had.equal(want.elements[i])) {
			continue // done above, or as it was merged in
		}
		if err := e.add(n, inner, key, want.elements[i]); err != nil {
			return err
		}
	}
	return nil
}

// explicit says whether a mapping has a key of its own, not from another by "<<".
func explicit(n *yaml.Node, key string) bool { return keyIndex(n, key) >= 0 }

func keyIndex(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].Kind == yaml.ScalarNode {
			return i
		}
	}
	return -1
}

// follower is before which member one is best put, if that is there; the others go to the end.
var follower = map[string]string{"metadata": "spec", "initContainers": "containers", "command": "args"}

// add adds a member to a mapping.
func (e *editor) add(n *yaml.Node, at place, key string, v value) error {
	i := -1
	if next, ok := follower[key]; ok {
		i = keyIndex(n, next)
	}
	if at.flow {
		member := quoted(key) + ": " + flow(v)
		switch {
		case len(n.Content) == 0:
			return e.intoEmpty(n, member)
		case i >= 0:
			return e.insertFlow(n, e.start(n.Content[i]), member, false)
		}
		end, err := e.end(n.Content[len(n.Content)-1], at)
		if err != nil {
			return err
		}
		return e.insertFlow(n, end, member, true)
	}
	lines := e.style.entry(key, v)
	if i >= 0 {
		var before *yaml.Node
		if i > 0 {
			before = n.Content[i-1]
		}
		return e.insertBefore(e.start(n.Content[i]), before, at, lines)
	}
	last := n.Content[len(n.Content)-1]
	at.key = n.Content[len(n.Content)-2]
	return e.insertAfter(last, at, at.column, lines)
}

// removeFlow removes entries from between brackets, each with one separator; an entry is so many nodes, and removed are the
// first nodes of entries, in order. One entry must stay.
func (e *editor) removeFlow(n *yaml.Node, size int, removed []int, at place) error {
	first := 0 // the first entry that stays
	for _, i := range removed {
		if i == first {
			first += size
			continue
		}
		from, err := e.end(n.Content[i-1], at)
		if err != nil {
			return err
		}
		to, err := e.end(n.Content[i+size-1], at)
		if err != nil {
			return err
		}
		e.changes = append(e.changes, change{from: from, to: to})
	}
	if first >= len(n.Content) {
		return errUnclear
	}
	if first > 0 {
		e.changes = append(e.changes, change{from: e.start(n.Content[0]), to: e.start(n.Content[first])})
	}
	return nil
}

// removeMembers removes members of a block mapping; removed are the indexes of their keys, in order. One member must stay.
func (e *editor) removeMembers(n *yaml.Node, removed []int, at place) error {
	first := 0 // how many are removed from the front
	for first < len(removed) && removed[first] == 2*first {
		first++
	}
	if start := e.start(n.Content[0]); first > 0 && !e.beginsLine(start) {
		// Behind a dash: the comment or member that comes next moves up to the dash.
		at.key = n.Content[2*first-2]
		end, err := e.end(n.Content[2*first-1], at)
		if err != nil {
			return err
		}
		next := e.nextLine(end)
		next += len(e.text[next:]) - len(strings.TrimLeft(e.text[next:], " \r\n"))
		e.changes = append(e.changes, change{from: start, to: next})
		removed = removed[first:]
	}
	for _, i := range removed {
		at.key = n.Content[i]
		if err := e.removeLines(e.start(at.key), n.Content[i+1], at); err != nil {
			return err
		}
	}
	return nil
}

// removeLines removes from the line at which an entry begins, to the one at which its node ends.
func (e *editor) removeLines(start int, n *yaml.Node, at place) error {
	end, err := e.end(n, at)
	if err != nil || !e.beginsLine(start) {
		return errUnclear
	}
	e.changes = append(e.changes, change{from: e.lineOf(start), to: e.nextLine(end)})
	return nil
}

// step is one element of what a sequence is to be: an element that it has, or none; and what it is to say.
type step struct {
	from int // -1 for a new one
	want value
}

// sequence makes a sequence's elements say want, adds and removes some.
func (e *editor) sequence(n *yaml.Node, at place, have, want value) error {
	if len(n.Content) != len(have.elements) || len(n.Content) == 0 && !at.flow || len(want.elements) == 0 {
		return errUnclear
	}
	at.flow = at.flow || n.Style&yaml.FlowStyle != 0
	inner := place{flow: at.flow}
	starts := make([]int, len(n.Content))
	if !at.flow {
		for i, element := range n.Content {
			dash, err := e.dash(element)
			if err != nil {
				return err
			}
			starts[i] = dash
		}
		inner.column = utf8.RuneCountInString(e.text[e.lineOf(starts[0]):starts[0]])
	}
	kept := make([]bool, len(n.Content))
	last := -1 // the last of the old elements before
	for _, s := range align(have.elements, want.elements) {
		if s.from >= 0 {
			if s.from <= last {
				return errUnclear // moved
			}
			kept[s.from], last = true, s.from
			if err := e.node(n.Content[s.from], inner, have.elements[s.from], s.want); err != nil {
				return err
			}
			continue
		}
		if err := e.insert(n, inner, starts, last, s.want); err != nil {
			return err
		}
	}
	var removed []int
	for i, k := range kept {
		if k {
			continue
		}
		if at.flow {
			removed = append(removed, i)
			continue
		}
		if err := e.removeLines(starts[i], n.Content[i], inner); err != nil {
			return err
		}
	}
	return e.removeFlow(n, 1, removed, inner)
}

// insert adds an element after the i-th, or before all if i is -1.
func (e *editor) insert(n *yaml.Node, at place, starts []int, i int, v value) error {
	switch {
	case at.flow && len(n.Content) == 0:
		return e.intoEmpty(n, flow(v))
	case at.flow && i < 0:
		return e.insertFlow(n, e.start(n.Content[0]), flow(v), false)
	case at.flow:
		end, err := e.end(n.Content[i], at)
		if err != nil {
			return err
		}
		return e.insertFlow(n, end, flow(v), true)
	case i < 0:
		return e.insertBefore(starts[0], nil, at, e.style.item(v))
	}
	return e.insertAfter(n.Content[i], at, at.column, e.style.item(v))
}

// align says which of the elements that there are become which of those that are wanted: those with the same name where
// all have one, as Kubernetes merges lists; else the first and the last that are equal stay, and those between become
// one another in order.
func align(have, want []value) (steps []step) {
	if byName, ok := names(have); ok {
		if _, ok := names(want); ok {
			for _, w := range want {
				s := step{from: -1, want: w}
				if i, ok := byName[w.at("name").text()]; ok {
					s.from = i
				}
				steps = append(steps, s)
			}
			return steps
		}
	}
	first := 0
	for first < len(have) && first < len(want) && have[first].equal(want[first]) {
		first++
	}
	last := 0
	for last < len(have)-first && last < len(want)-first && have[len(have)-1-last].equal(want[len(want)-1-last]) {
		last++
	}
	for i, w := range want {
		s := step{from: -1, want: w}
		switch {
		case i < len(have)-last && i < len(want)-last:
			s.from = i
		case i >= len(want)-last:
			s.from = i - len(want) + len(have)
		}
		steps = append(steps, s)
	}
	return steps
}

// names are the elements by their names; not ok if they are not objects with a name each.
func names(elements []value) (map[string]int, bool) {
	all := make(map[string]int, len(elements))
	for i, element := range elements {
		name := element.at("name").text()
		if _, twice := all[name]; twice || name == "" {
			return nil, false
		}
		all[name] = i
	}
	return all, true
}

// replace puts want in the place of a node.
func (e *editor) replace(n *yaml.Node, at place, want value) error {
	start := e.start(n)
	end, err := e.end(n, at)
	if err != nil {
		return err
	}
	switch {
	case at.flow:
		e.changes = append(e.changes, change{from: start, to: end, text: flow(want)})
		return nil
	case at.key == nil && at.column >= 0:
		lines := e.style.block(want)
		e.changes = append(e.changes, change{from: start, to: end, text: e.join(lines, e.columnOf(start))})
		return nil
	case at.key == nil:
		return errUnclear // the whole document
	}
	colon, err := e.colon(at.key)
	if err != nil {
		return err
	}
	if want.kind == 0 || len(want.elements) == 0 {
		e.changes = append(e.changes, change{from: colon, to: end, text: " " + scalar(want)})
		return nil
	}
	lines := e.style.below(want)
	text := e.newline + strings.Repeat(" ", at.column) + e.join(lines, at.column)
	if e.lineOf(start) == e.lineOf(end) && e.lineOf(colon) == e.lineOf(start) { // a comment stays on the key's line
		rest := e.endOfLine(end)
		e.changes = append(e.changes, change{from: colon, to: end}, change{from: rest, to: rest, text: text})
		return nil
	}
	e.changes = append(e.changes, change{from: colon, to: end, text: text})
	return nil
}

// join is lines in one text; all but the first are indented.
func (e *editor) join(lines []string, column int) string {
	return strings.Join(lines, e.newline+strings.Repeat(" ", column))
}

// insertBefore inserts lines before what begins at start, and before the comment that stands right above it; after the
// node before, if there is one.
func (e *editor) insertBefore(start int, before *yaml.Node, at place, lines []string) error {
	line := e.lineOf(start)
	if !e.beginsLine(start) {
		pad := strings.Repeat(" ", at.column)
		e.changes = append(e.changes, change{from: start, to: start, text: e.join(lines, at.column) + e.newline + pad})
		return nil
	}
	bound := 0
	if before != nil {
		end, err := e.end(before, at)
		if err != nil {
			return err
		}
		bound = e.nextLine(end)
	}
	for line > bound {
		above := e.lineOf(line - 1)
		if !strings.HasPrefix(strings.TrimLeft(e.text[above:line], " "), "#") {
			break
		}
		line = above
	}
	pad := strings.Repeat(" ", at.column)
	e.changes = append(e.changes, change{from: line, to: line, text: pad + e.join(lines, at.column) + e.newline})
	return nil
}

// insertAfter inserts lines after a node, an entry of a block mapping or sequence.
func (e *editor) insertAfter(n *yaml.Node, at place, column int, lines []string) error {
	end, err := e.end(n, at)
	if err != nil {
		return err
	}
	pad := strings.Repeat(" ", column)
	next := e.nextLine(end)
	text := pad + e.join(lines, column)
	if next == len(e.text) && !strings.HasSuffix(e.text, "\n") {
		text = e.newline + text // the file does not end its last line, and so it stays
	} else {
		text += e.newline
	}
	e.changes = append(e.changes, change{from: next, to: next, text: text})
	return nil
}

// insertFlow inserts an entry between brackets, before or after one that is there; on a line of its own where those are.
func (e *editor) insertFlow(n *yaml.Node, at int, text string, after bool) error {
	separator := ", "
	if first := n.Content[0]; first.Line > n.Line {
		start := e.start(first)
		separator = "," + e.newline + e.text[e.lineOf(start):start]
		if strings.TrimSpace(e.text[e.lineOf(start):start]) != "" {
			return errUnclear
		}
	}
	if after {
		text = separator + text
	} else {
		text += separator
	}
	e.changes = append(e.changes, change{from: at, to: at, text: text})
	return nil
}

// intoEmpty puts an entry between brackets that hold none.
func (e *editor) intoEmpty(n *yaml.Node, text string) error {
	at := e.properties(e.start(n))
	if at >= len(e.text) || e.text[at] != '{' && e.text[at] != '[' {
		return errUnclear
	}
	e.changes = append(e.changes, change{from: at + 1, to: at + 1, text: text})
	return nil
}

// start is where a node begins, with its anchor and tag.
func (e *editor) start(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(e.lines) {
		return len(e.text)
	}
	at := e.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(e.text[at:])
		at += size
	}
	return at
}

// dash is where the dash before an element of a block sequence is. Between the two there may be comments.
func (e *editor) dash(element *yaml.Node) (int, error) {
	before := e.text[:e.start(element)]
	for {
		before = strings.TrimRight(before, " \t\r\n")
		if strings.HasSuffix(before, "-") && !strings.Contains(before[e.lineOf(len(before)):], "#") {
			return len(before) - 1, nil
		}
		line := e.lineOf(len(before))
		comment := strings.IndexByte(before[line:], '#')
		if comment < 0 {
			return 0, errUnclear
		}
		before = before[:line+comment]
	}
}

// colon is after the colon that ends a key of a block mapping.
func (e *editor) colon(key *yaml.Node) (int, error) {
	end, err := e.end(key, place{flow: true})
	if err != nil {
		return 0, err
	}
	rest := strings.TrimLeft(e.text[end:], " \t")
	if key.Kind != yaml.ScalarNode || !strings.HasPrefix(rest, ":") {
		return 0, errUnclear
	}
	return len(e.text) - len(rest) + 1, nil
}

// lineOf is where the line begins that an offset is on.
func (e *editor) lineOf(at int) int {
	i, found := slices.BinarySearch(e.lines, at)
	if !found {
		i--
	}
	return e.lines[i]
}

// beginsLine says whether only spaces are before an offset on its line.
func (e *editor) beginsLine(at int) bool { return strings.TrimLeft(e.text[e.lineOf(at):at], " ") == "" }

// nextLine is where the line begins that follows the one that an offset is on.
func (e *editor) nextLine(at int) int {
	i, found := slices.BinarySearch(e.lines, at)
	if found {
		i++
	}
	if i >= len(e.lines) {
		return len(e.text)
	}
	return e.lines[i]
}

// endOfLine is where the line ends that an offset is on, before its break.
func (e *editor) endOfLine(at int) int {
	return at + len(strings.TrimRight(e.text[at:e.nextLine(at)], "\r\n\u0085\u2028\u2029"))
}

// columnOf is how many columns an offset is from the start of its line.
func (e *editor) columnOf(at int) int { return utf8.RuneCountInString(e.text[e.lineOf(at):at]) }

// properties is after the anchor and the tag that stand at an offset.
func (e *editor) properties(at int) int {
	for at < len(e.text) && (e.text[at] == '&' || e.text[at] == '!') {
		for at < len(e.text) && !strings.ContainsRune(" \t\r\n,[]{}", rune(e.text[at])) {
			at++
		}
		at = e.blank(at, false)
	}
	return at
}

// blank is after the spaces, line breaks and comments that stand at an offset, and after commas if those are passed too.
func (e *editor) blank(at int, commas bool) int {
	for at < len(e.text) {
		switch c := e.text[at]; {
		case c == ' ', c == '\t', c == '\r', c == '\n', commas && c == ',':
			at++
		case c == '#' && (at == 0 || strings.IndexByte(" \t\r\n", e.text[at-1]) >= 0):
			at = e.endOfLine(at)
		default:
			return at
		}
	}
	return at
}

// end is where a node ends: after its last character.
func (e *editor) end(n *yaml.Node, at place) (int, error) {
	start := e.properties(e.start(n))
	switch {
	case n.Kind == yaml.AliasNode:
		for start < len(e.text) && !strings.ContainsRune(" \t\r\n,[]{}", rune(e.text[start])) {
			start++
		}
		return start, nil
	case n.Kind == yaml.ScalarNode:
		return e.endOfScalar(n, start, at)
	case n.Style&yaml.FlowStyle != 0:
		return e.endOfFlow(n, start)
	case len(n.Content) == 0:
		return 0, errUnclear
	case n.Kind == yaml.MappingNode:
		return e.end(n.Content[len(n.Content)-1], place{column: n.Content[0].Column - 1})
	}
	last := n.Content[len(n.Content)-1]
	dash, err := e.dash(last)
	if err != nil {
		return 0, err
	}
	end, err := e.end(last, place{column: e.columnOf(dash)})
	return max(end, dash+1), err
}

func (e *editor) endOfFlow(n *yaml.Node, start int) (int, error) {
	if start >= len(e.text) {
		return 0, errUnclear
	}
	closing := e.text[start] + 2 // ] and } are two after [ and { in ASCII
	inside := start + 1
	if len(n.Content) > 0 {
		end, err := e.end(n.Content[len(n.Content)-1], place{flow: true})
		if err != nil {
			return 0, err
		}
		if closing != ']' && closing != '}' {
			return end, nil // a pair without brackets of its own
		}
		inside = end
	}
	inside = e.blank(inside, true)
	if inside >= len(e.text) || e.text[inside] != closing {
		return 0, errUnclear
	}
	return inside + 1, nil
}

func (e *editor) endOfScalar(n *yaml.Node, start int, at place) (int, error) {
	const kinds = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch n.Style & kinds {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		return e.endOfQuoted(start)
	case yaml.LiteralStyle, yaml.FoldedStyle:
		return e.endOfBlock(start, at)
	}
	if n.Value == "" {
		return len(strings.TrimRight(e.text[:start], " \t\r\n")), nil
	}
	end := e.endOfPlain(start, at.flow)
	for !at.flow {
		// What is deeper on the following lines belongs to it; a comment ends it.
		if strings.HasPrefix(strings.TrimLeft(e.text[end:], " \t"), "#") {
			break
		}
		next := e.nextLine(end)
		for next < len(e.text) && strings.TrimSpace(e.text[next:e.endOfLine(next)]) == "" && e.nextLine(next) > next {
			next = e.nextLine(next)
		}
		rest := strings.TrimLeft(e.text[next:], " ")
		if by := len(e.text) - len(rest) - next; rest == "" || by <= at.column || rest[0] == '#' || strings.HasPrefix(rest, "\t") {
			break
		}
		end = e.endOfPlain(len(e.text)-len(rest), false)
	}
	return end, nil
}

// endOfPlain is where a scalar without quotes ends: on its line, or in brackets where it ends for good.
func (e *editor) endOfPlain(start int, inFlow bool) int {
	end := start
	for at := start; at < len(e.text); at++ {
		c := e.text[at]
		after := byte(' ')
		if at+1 < len(e.text) {
			after = e.text[at+1]
		}
		white := strings.IndexByte(" \t\r\n", c) >= 0
		switch {
		case !inFlow && (c == '\r' || c == '\n'),
			inFlow && strings.IndexByte(",[]{}", c) >= 0,
			c == ':' && (strings.IndexByte(" \t\r\n", after) >= 0 || inFlow && strings.IndexByte(",[]{}", after) >= 0),
			c == '#' && at > start && strings.IndexByte(" \t\r\n", e.text[at-1]) >= 0:
			return end
		case !white:
			end = at + 1
		}
	}
	return end
}

func (e *editor) endOfQuoted(start int) (int, error) {
	if start >= len(e.text) {
		return 0, errUnclear
	}
	quote := e.text[start]
	if quote != '"' && quote != '\'' {
		return 0, errUnclear
	}
	for at := start + 1; at < len(e.text); at++ {
		switch c := e.text[at]; {
		case c == '\\' && quote == '"':
			at++
		case c == quote && quote == '\'' && strings.HasPrefix(e.text[at+1:], "'"):
			at++
		case c == quote:
			return at + 1, nil
		}
	}
	return 0, errUnclear
}

// endOfBlock is where a scalar ends that begins with | or >.
func (e *editor) endOfBlock(start int, at place) (int, error) {
	header, _, _ := strings.Cut(e.text[start:e.endOfLine(start)], "#")
	header = strings.TrimSpace(header)
	if header == "" || header[0] != '|' && header[0] != '>' {
		return 0, errUnclear
	}
	column := -1 // of the content, if it is known
	keep := false
	for _, c := range header[1:] {
		switch {
		case c == '+':
			keep = true
		case c >= '1' && c <= '9':
			column = max(at.column, 0) + int(c-'0')
		}
	}
	end := e.endOfLine(start)
	for line := e.nextLine(start); line < len(e.text); line = e.nextLine(line) {
		content := e.text[line:e.endOfLine(line)]
		by := len(content) - len(strings.TrimLeft(content, " "))
		if by == len(content) {
			if keep {
				end = line + len(content)
			}
			continue
		}
		if column < 0 {
			column = max(by, at.column+1)
		}
		if by < column {
			break
		}
		end = e.endOfLine(line)
	}
	return end, nil
}
