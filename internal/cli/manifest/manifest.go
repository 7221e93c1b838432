// Package manifest reads Kubernetes manifests, finds the pod templates in them, and changes those without touching
// anything else: what it does not change keeps every byte, comments and layout too.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// Document is one document of a manifest, with the separator and the comments before it.
type Document struct {
	// Text as it stands in the manifest. All documents' texts together are the manifest's.
	Text string
	// Line of the manifest on which the document begins, from 1.
	Line int
	// Templates are the pod templates in it.
	Templates []Template
	// Unknown are objects of unknown kinds that have what looks like a pod template.
	Unknown []Object
	// Controlled are objects without a pod template, of which controllers make Pods.
	Controlled []Controlled

	root value
}

// byteOrderMark may stand at the beginning of a file.
const byteOrderMark = "\ufeff"

// Read takes a manifest apart: YAML of any number of documents, or JSON of any number of objects.
func Read(text string) ([]*Document, error) {
	switch {
	case strings.ContainsRune(text, 0):
		return nil, errors.New("the file is not text, or is UTF-16 (PowerShell's > writes that): save it as UTF-8")
	case !utf8.ValidString(text):
		return nil, errors.New("the file is not UTF-8: save it as UTF-8")
	}
	var documents []*Document
	line := 1
	for _, part := range split(text) {
		d := &Document{Text: part, Line: line}
		if err := d.read(); err != nil {
			return nil, fmt.Errorf("the document that begins on line %d: %w", line, err)
		}
		documents = append(documents, d)
		line += strings.Count(part, "\n")
	}
	return documents, nil
}

// split cuts a manifest before every separator, and after every end. Together the parts are the text.
func split(text string) []string {
	if parts, ok := splitJSON(text); ok {
		return parts
	}
	var parts []string
	begin, ended := 0, false
	for at := 0; at < len(text); {
		if at > begin && (ended || marks(text[at:], "---")) {
			parts = append(parts, text[begin:at])
			begin = at
		}
		ended = marks(text[at:], "...")
		next := strings.IndexByte(text[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return append(parts, text[begin:])
}

// marks says whether a line begins or ends a document: with "---" or "...", and nothing or a space after it.
func marks(line, mark string) bool {
	rest, ok := strings.CutPrefix(line, mark)
	return ok && (rest == "" || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// splitJSON cuts JSON values from one another; not ok if it is anything else.
func splitJSON(text string) (parts []string, ok bool) {
	if !strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(text, byteOrderMark)), "{") {
		return nil, false
	}
	bom := len(text) - len(strings.TrimPrefix(text, byteOrderMark))
	d := json.NewDecoder(strings.NewReader(text[bom:]))
	begin := 0
	for {
		var raw json.RawMessage
		err := d.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false
		}
		end := bom + int(d.InputOffset())
		parts = append(parts, text[begin:end])
		begin = end
	}
	parts[len(parts)-1] += text[begin:]
	return parts, true
}

// read finds out what the document says.
func (d *Document) read() error {
	var err error
	if d.root, err = meaning(d.Text); err != nil {
		if strings.Contains(d.Text, "{{") {
			err = fmt.Errorf("%w. If {{ }} belongs to a template, render it first: helm template, for example", err)
		}
		return err
	}
	d.find(d.root, nil, Object{})
	if len(d.Templates) > 0 {
		var document yaml.Node
		if yaml.Unmarshal([]byte(strings.TrimPrefix(d.Text, byteOrderMark)), &document) == nil {
			err = twice(&document)
		}
	}
	return err
}

// meaning is what a text says, as kubectl reads it.
func meaning(text string) (value, error) {
	raw := []byte(strings.TrimPrefix(text, byteOrderMark))
	if trimmed := bytes.TrimSpace(raw); !bytes.HasPrefix(trimmed, []byte("{")) || !json.Valid(trimmed) {
		var err error
		if raw, err = sigsyaml.YAMLToJSON(raw); err != nil {
			return value{}, err
		}
	}
	return parse(raw)
}

// twice is an error where a mapping has a key twice: the apiserver and we might take different ones.
func twice(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		lines := map[string]int{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if line, ok := lines[key.Value]; ok && key.Kind == yaml.ScalarNode && key.Tag != "!!merge" {
				return fmt.Errorf("line %d: %q exists already, on line %d: remove one", key.Line, key.Value, line)
			}
			lines[key.Value] = key.Line
		}
	}
	for _, c := range n.Content {
		if err := twice(c); err != nil {
			return err
		}
	}
	return nil
}

// With is the document's text where each template's Pod has become another one, by its index in Templates. lossy is set
// where comments or layout of the document could not be kept.
func (d *Document) With(pods map[int][]byte) (text string, lossy bool, err error) {
	want := d.root
	for i, raw := range pods {
		pod, err := parse(raw)
		if err != nil {
			return "", false, fmt.Errorf("reading the changed pod template: %w", err)
		}
		if want, err = d.Templates[i].put(want, pod); err != nil {
			return "", false, err
		}
	}
	if want.equal(d.root) {
		return d.Text, false, nil
	}
	body := strings.TrimPrefix(d.Text, byteOrderMark)
	bom := d.Text[:len(d.Text)-len(body)]
	if text, ok := inPlace(body, d.root, want); ok {
		return bom + text, false, nil
	}
	// An anchor is in the way: what it stands for is to be changed in one place and not in the other.
	if text, ok := exploded(body); ok {
		if text, ok := inPlace(text, d.root, want); ok {
			return bom + text, true, nil
		}
	}
	text, err = rendered(body, want.inOrderOf(d.root))
	return bom + text, true, err
}

// inPlace changes a text so that it means want, not ok if that cannot be done.
func inPlace(text string, have, want value) (string, bool) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) != 1 {
		return "", false
	}
	changed, err := edit(text, document.Content[0], have, want)
	if err != nil {
		return "", false
	}
	got, err := meaning(changed)
	return changed, err == nil && got.equal(want)
}

// exploded is a document in which every alias is replaced by what it stands for. Comments stay, the layout does not.
func exploded(text string) (string, bool) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return "", false
	}
	const most = 100_000 // nodes: aliases of aliases grow without bounds
	left := most
	if !resolve(&document, &left) {
		return "", false
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return "", false
	}
	return head(text) + b.String(), true
}

// resolve replaces aliases by copies and drops anchors, as long as there is something left to spend.
func resolve(n *yaml.Node, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	if n.Kind == yaml.AliasNode {
		target := *n.Alias
		target.HeadComment, target.LineComment, target.FootComment = n.HeadComment, n.LineComment, n.FootComment
		*n = target
	}
	n.Anchor = ""
	content := make([]*yaml.Node, 0, len(n.Content))
	for _, c := range n.Content {
		own := *c
		if !resolve(&own, left) {
			return false
		}
		content = append(content, &own)
	}
	n.Content = content
	if n.Kind == yaml.MappingNode {
		unmerge(n)
	}
	return true
}

// unmerge writes out what "<<" merges into a mapping; what it has itself comes first.
func unmerge(n *yaml.Node) {
	var own, merged []*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		seen[n.Content[i].Value] = true
		own = append(own, n.Content[i], n.Content[i+1])
	}
	var add func(from *yaml.Node)
	add = func(from *yaml.Node) {
		if from.Kind == yaml.SequenceNode {
			for _, each := range from.Content {
				add(each)
			}
			return
		}
		for i := 0; i+1 < len(from.Content); i += 2 {
			if key := from.Content[i].Value; !seen[key] {
				seen[key] = true
				own = append(own, from.Content[i], from.Content[i+1])
			}
		}
	}
	for _, from := range merged {
		add(from)
	}
	n.Content = own
}

// rendered is what a document is to mean, written anew in the way it was: JSON or YAML.
func rendered(text string, want value) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var b bytes.Buffer
		if err := json.Indent(&b, want.json(), "", "  "); err != nil {
			return "", err
		}
		return text[:strings.IndexByte(text, '{')] + b.String() + "\n", nil
	}
	lines := style{mapping: 2}.block(want)
	return head(text) + strings.Join(lines, "\n") + "\n", nil
}

// head is the separator before a document.
func head(text string) string {
	if marks(text, "---") {
		return "---\n"
	}
	return ""
}
