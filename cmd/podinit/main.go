// Command podinit shows and does outside of a cluster what podinit's webhook does inside: it wraps manifests, explains
// which process is PID 1, and looks after an installation. As kubectl-podinit in PATH it is kubectl's plugin "podinit".
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // clouds' ways to log in, as in kubectl

	"github.com/podinit/podinit/internal/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
