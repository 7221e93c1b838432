package reference

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/podinit/podinit/initbin/options"
)

// flag is what package flag prints about each: "  -name type", and on the next line its text and default.
var flagLine = regexp.MustCompile(`(?m)^  -(\S+)(?: (\S+))?\n    \t(.*?)(?: \(default (.*)\))?$`)

// environment is a variable that is read where a flag is not given.
var environment = regexp.MustCompile(`; else \$(\w+)$`)

func flags(root string) (string, error) {
	webhook, err := flagsOf(root, "podinit-webhook")
	if err != nil {
		return "", err
	}
	node, err := flagsOf(root, "podinit-node")
	if err != nil {
		return "", err
	}
	var initHelp strings.Builder
	options.Help(func(part string) { initHelp.WriteString(part) })
	return head("Flags", "the programs' own help", "The command line `podinit` documents itself: `podinit help`.") + `
## podinit-webhook

If a flag is not set, the environment variable counts. In addition, ` + "`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`" + ` hold
for registries, and ` + "`KUBECONFIG`" + ` names the cluster if the webhook runs outside of it.

` + webhook + `
## podinit-node

The plugin of [node mode](../node-mode.md).

` + node + `
## init

What ` + "`/podinit/init help`" + ` prints. [The init](../init.md) explains it. A pod passes flags in its annotation
[` + "`podinit.dev/flags.<container>`" + `](annotations.md).

` + "```\n" + strings.TrimSpace(initHelp.String()) + "\n```\n", nil
}

// flagsOf is the table of a program's flags.
func flagsOf(root, program string) (string, error) {
	help, err := helpOf(root, program)
	if err != nil {
		return "", err
	}
	found := flagLine.FindAllStringSubmatch(help, -1)
	if lines := strings.Count(help, "\n  -"); len(found) == 0 || len(found) != lines {
		return "", fmt.Errorf("%s -help has %d flags, of which %d are understood:\n%s", program, lines, len(found), help)
	}
	t := newTable("flag", "value", "default", "variable", "meaning")
	for _, f := range found {
		text, variable := f[3], ""
		if m := environment.FindStringSubmatch(text); m != nil {
			text, variable = strings.TrimSuffix(text, m[0]), m[1]
		}
		t.row(code("-"+f[1]), f[2], code(strings.Trim(f[4], `"`)), code(variable), prose(text))
	}
	return t.String(), nil
}

// helpOf is what a program's -help prints where no variable gives a default.
func helpOf(root, program string) (string, error) {
	command := exec.Command("go", "run", "./cmd/"+program, "-help")
	command.Dir = root
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PODINIT_") || strings.HasPrefix(v, "POD_NAMESPACE=")
	})
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running %s -help: %w\n%s", program, err, out.Bytes())
	}
	return out.String(), nil
}
