package words

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Read returns what users read in the repository at root: the documentation, the files that are installed, with their
// comments, the string literals of the programs, and the comments of the API, which become descriptions of the
// CustomResourceDefinition. It does not read what is generated from these.
func Read(root string) ([]Text, error) {
	var texts []Text
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if notForUsers(file) || generated[file] {
				return filepath.SkipDir
			}
			return nil
		}
		isGo := filepath.Ext(file) == ".go"
		if !isGo && !isDocument(file) || generated[file] {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !isGo {
			texts = append(texts, Text{File: file, Line: 1, Text: string(content)})
			return nil
		}
		literals, err := readGo(file, content)
		texts = append(texts, literals...)
		return err
	})
	return texts, err
}

// generated are the files and directories that "make generate" writes.
var generated = map[string]bool{
	"charts/podinit/files":                     true,
	"config/crd/podinit.dev_initprofiles.yaml": true,
	"docs/reasons.md":                          true,
	"docs/reference":                           true,
}

// notForUsers says whether users read nothing in a directory: it is built, or belongs to tests.
func notForUsers(directory string) bool {
	name := filepath.Base(directory)
	return directory == "bin" || directory == "dist" || directory == "test" || name == "testdata" ||
		strings.HasPrefix(name, ".") && directory != "."
}

// isDocument says whether users read the whole file.
func isDocument(file string) bool {
	switch filepath.Ext(file) {
	case ".md", ".yaml", ".json", ".txt", ".tpl":
		return true
	}
	return file == "Makefile" || file == "Dockerfile"
}

// readGo returns the string literals of a Go file that have several words, and the comments if it is the API's.
func readGo(file string, content []byte) ([]Text, error) {
	if strings.HasSuffix(file, "_test.go") {
		return nil, nil
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var texts []Text
	add := func(at token.Pos, text string) {
		if strings.Contains(text, " ") {
			texts = append(texts, Text{File: file, Line: set.Position(at).Line, Text: text})
		}
	}
	read := map[*ast.BasicLit]bool{}
	ast.Inspect(parsed, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			if node.Tag != nil {
				read[node.Tag] = true
			}
		case *ast.BinaryExpr:
			add(node.Pos(), joined(node, read))
		case *ast.BasicLit:
			add(node.Pos(), joined(node, read))
		}
		return true
	})
	if strings.HasPrefix(file, "api/") {
		for _, comment := range parsed.Comments {
			add(comment.Pos(), comment.Text())
		}
	}
	return texts, nil
}

// joined returns the text of string literals that are added up, with three dots for what is not a literal. It returns no
// text for literals that were read before.
func joined(e ast.Expr, read map[*ast.BasicLit]bool) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING && !read[e] {
			read[e] = true
			return text
		}
		return ""
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return joined(e.X, read) + joined(e.Y, read)
		}
	}
	return "..."
}
