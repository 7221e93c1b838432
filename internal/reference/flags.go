package reference

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// flag is what package flag prints about each: "  -name type", and on the next line its text and default.
var flagLine = regexp.MustCompile(`(?m)^  -(\S+)(?: (\S+))?\n    \t(.*?)(?: \(default (.*)\))?$`)

// environment is a variable that is read where a flag is not given.
var environment = regexp.MustCompile(`; else \$(\w+)$`)

func flags(root string) (string, error) {
	help, err := webhookHelp(root)
	if err != nil {
		return "", err
	}
	found := flagLine.FindAllStringSubmatch(help, -1)
	if lines := strings.Count(help, "\n  -"); len(found) == 0 || len(found) != lines {
		return "", fmt.Errorf("podinit-webhook -help has %d flags, of which %d are understood:\n%s", lines, len(found), help)
	}
	t := newTable("flag", "value", "default", "variable", "meaning")
	for _, f := range found {
		text, variable := f[3], ""
		if m := environment.FindStringSubmatch(text); m != nil {
			text, variable = strings.TrimSuffix(text, m[0]), m[1]
		}
		t.row(code("-"+f[1]), f[2], code(strings.Trim(f[4], `"`)), code(variable), prose(text))
	}
	initHelp, err := constant(filepath.Join(root, "initbin/commands.go"), "help")
	if err != nil {
		return "", err
	}
	return head("Flags", "the programs' own help", "The command line `podinit` documents itself: `podinit help`.") + `
## podinit-webhook

Where a flag is not given, the variable of the environment counts. Besides, ` + "`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`" + ` hold
for registries, and ` + "`KUBECONFIG`" + ` says where the cluster is when the webhook does not run in it.

` + t.String() + `
## init

What ` + "`/podinit/init help`" + ` prints. [The init](../init.md) explains it. A pod passes flags in its annotation
[` + "`podinit.dev/flags.<container>`" + `](annotations.md).

` + "```\n" + strings.TrimSpace(initHelp) + "\n```\n", nil
}

// webhookHelp is what podinit-webhook -help prints where no variable gives a default.
func webhookHelp(root string) (string, error) {
	command := exec.Command("go", "run", "./cmd/podinit-webhook", "-help")
	command.Dir = root
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PODINIT_") || strings.HasPrefix(v, "POD_NAMESPACE=")
	})
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running podinit-webhook -help: %w\n%s", err, out.Bytes())
	}
	return out.String(), nil
}

// constant is the value of a string constant in a file. The init itself runs on Linux alone.
func constant(file, name string) (string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return "", err
	}
	value := ""
	ast.Inspect(parsed, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && spec.Names[0].Name == name && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				value, err = strconv.Unquote(literal.Value)
			}
		}
		return true
	})
	if value == "" && err == nil {
		err = fmt.Errorf("%s: there is no string constant %s", file, name)
	}
	return value, err
}
