// Package docs reads the documentation, so that tests can follow its links and run its commands.
//
// What becomes of a block of code is said in an HTML comment before it, which readers do not see:
//
//	<!-- run: cluster -->      the commands are run, in order, in one shell for each page, on the test cluster
//	<!-- run: cluster without podinit -->
//	                           the same, and podinit is removed from the cluster first
//	<!-- run: offline -->      the same, without a cluster
//	<!-- not run: REASON -->   they are not, because of this
//	<!-- file: NAME -->        the block is written to this file, for the commands that follow
//	<!-- output -->            the block is what the commands before it print
//
// A block of commands (sh) without such a comment is an error.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Page is one Markdown file.
type Page struct {
	// Path below the repository's root.
	Path   string
	Blocks []Block
	Links  []string
	// Anchors of its headings, as GitHub makes them.
	Anchors map[string]bool
}

// Block is a fenced block of code.
type Block struct {
	// Line of its fence.
	Line     int
	Language string
	Text     string
	Marker   Marker
}

// Kind is what becomes of a block.
type Kind string

const (
	RunOnCluster Kind = "run: cluster"
	RunOffline   Kind = "run: offline"
	// RunBare is RunOnCluster, before which podinit is removed.
	RunBare Kind = "run: cluster without podinit"
	NotRun  Kind = "not run"
	File    Kind = "file"
	Output  Kind = "output"
)

// Marker is the comment before a block; its zero value is none.
type Marker struct {
	Kind Kind
	// Text is the reason of NotRun, the name of File.
	Text string
}

// Read reads all pages at the root and in docs, sorted by path.
func Read(root string) ([]Page, error) {
	var paths []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	var pages []Page
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		page, err := Parse(filepath.ToSlash(name), source)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	slices.SortFunc(pages, func(a, b Page) int { return strings.Compare(a.Path, b.Path) })
	return pages, nil
}

// Parse reads one page.
func Parse(path string, source []byte) (Page, error) {
	page := Page{Path: path, Anchors: map[string]bool{}}
	root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	err := ast.Walk(root, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Heading:
			anchor := anchorOf(plain(node, source))
			for i, first := 1, anchor; page.Anchors[anchor]; i++ {
				anchor = fmt.Sprintf("%s-%d", first, i)
			}
			page.Anchors[anchor] = true
		case *ast.Link:
			page.Links = append(page.Links, string(node.Destination))
		case *ast.Image:
			page.Links = append(page.Links, string(node.Destination))
		case *ast.FencedCodeBlock:
			block := Block{Language: string(node.Language(source)), Text: string(node.Lines().Value(source)), Line: 1}
			if node.Lines().Len() > 0 {
				block.Line = strings.Count(string(source[:node.Lines().At(0).Start]), "\n")
			}
			if before, ok := node.PreviousSibling().(*ast.HTMLBlock); ok {
				var err error
				if block.Marker, err = parseMarker(string(before.Lines().Value(source))); err != nil {
					return ast.WalkStop, fmt.Errorf("%s:%d: %w", path, block.Line, err)
				}
			}
			page.Blocks = append(page.Blocks, block)
		}
		return ast.WalkContinue, nil
	})
	return page, err
}

// parseMarker reads a comment; one that has nothing to do with this is no marker.
func parseMarker(comment string) (Marker, error) {
	inner, ok := strings.CutPrefix(strings.TrimSpace(comment), "<!--")
	if !ok {
		return Marker{}, nil
	}
	inner = strings.TrimSpace(strings.TrimSuffix(inner, "-->"))
	switch key, value, _ := strings.Cut(inner, ":"); {
	case inner == string(RunOnCluster), inner == string(RunBare), inner == string(RunOffline), inner == string(Output):
		return Marker{Kind: Kind(inner)}, nil
	case key == string(NotRun), key == string(File):
		if value = strings.TrimSpace(value); value == "" {
			return Marker{}, fmt.Errorf("%q: say why, or which", inner)
		}
		return Marker{Kind(key), value}, nil
	case key == "run":
		return Marker{}, fmt.Errorf("%q: it is run: cluster, run: cluster without podinit, or run: offline", inner)
	}
	return Marker{}, nil
}

// plain is the text of a heading.
func plain(node ast.Node, source []byte) string {
	var b strings.Builder
	for child := node.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			b.Write(child.Segment.Value(source))
		default:
			b.WriteString(plain(child, source))
		}
	}
	return b.String()
}

// anchorOf is the anchor that GitHub makes of a heading.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
