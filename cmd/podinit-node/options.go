package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/podinit/podinit/internal/initprogram"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/logs"
	"github.com/podinit/podinit/internal/node/plugin"
	"github.com/podinit/podinit/internal/version"
)

// options are what the command line says.
type options struct {
	// Socket of the container runtime's NRI.
	Socket string

	// Index decides when the runtime calls this plugin among others, in ascending order: two digits. A plugin that is
	// called later and sets a container's argv with NRI's SetArgs makes the runtime fail that container.
	Index string

	// Directory for the init, by the same path on the node and here. Containers mount from it.
	Directory string

	// InitProgram is the init to install, which an initContainer of this Pod has copied from the init image. It must have
	// this program's version.
	InitProgram string

	// MetricsAddress is where Prometheus finds the metrics, by plain HTTP; "0" serves none.
	MetricsAddress string

	// Report serves at MetricsAddress what is done to the containers of the node: the names of namespaces, Pods and containers.
	Report bool

	// HealthAddress is where the kubelet finds /healthz and /readyz.
	HealthAddress string

	// Namespace that this runs in. Its Pods are never wrapped.
	Namespace string

	// ExcludedNamespaces are never touched, whatever their labels say.
	ExcludedNamespaces []string

	// Suspend has every container created unchanged.
	Suspend bool

	// Verbosity of the log: 0 what is wrong and what changes, 1 every container, up to logs.MaxVerbosity what libraries say.
	Verbosity int

	// Version asks for the version instead of a plugin.
	Version bool
}

var index = regexp.MustCompile(`^[0-9]{2}$`)

// parse reads the command line. Where a flag is not given, the environment may say it (see the flag's text).
func parse(args []string, getenv func(string) string) (options, error) {
	var o options
	var excluded string
	f := flag.NewFlagSet("podinit-node", flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	f.StringVar(&o.Socket, "nri-socket", "/var/run/nri/nri.sock", "`file` of the container runtime's NRI socket")
	f.StringVar(&o.Index, "nri-index", plugin.DefaultIndex, "`index` of the plugin, two digits: among several, the runtime calls the lower first")
	f.StringVar(&o.Directory, "directory", "/var/lib/podinit", "`directory` for the init; it has the same path on the node and in this container")
	f.StringVar(&o.InitProgram, "init-program", "/podinit/init", "`file` to install as the init; it has this program's version")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "`address` of the metrics, by plain HTTP; 0 for none")
	f.BoolVar(&o.Report, "report", true, "serve at /containers, with the metrics, which containers of the node are wrapped, and which not and why, by the names of namespaces, pods and containers")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	f.StringVar(&o.Namespace, "namespace", getenv("POD_NAMESPACE"), "`namespace` of podinit-node, required; else $POD_NAMESPACE")
	f.StringVar(&excluded, "exclude-namespaces", strings.Join(inject.SystemNamespaces, ","), "`namespaces` that are never touched, besides podinit-node's own")
	f.BoolVar(&o.Suspend, "suspend", false, "create every container unchanged")
	f.IntVar(&o.Verbosity, "v", 0, "`level` of the log: 1 for a line about every container, up to 6 for what libraries say")
	f.BoolVar(&o.Version, "version", false, "print the version and exit")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case f.NArg() > 0:
		return options{}, fmt.Errorf("%q is not a flag; -help lists the flags", f.Arg(0))
	case o.Version:
		return o, nil
	case o.Namespace == "":
		return options{}, errors.New("-namespace or $POD_NAMESPACE is required: the namespace that podinit-node runs in")
	case o.Verbosity < 0 || o.Verbosity > logs.MaxVerbosity:
		return options{}, fmt.Errorf("-v must be 0 to %d", logs.MaxVerbosity)
	case !index.MatchString(o.Index):
		return options{}, fmt.Errorf("-nri-index: %q must be two digits", o.Index)
	case !filepath.IsAbs(o.Directory) || filepath.Clean(o.Directory) != o.Directory || o.Directory == "/":
		return options{}, fmt.Errorf("-directory: %q must be an absolute path, as short as it can be written, and not /", o.Directory)
	}
	o.ExcludedNamespaces = []string{o.Namespace}
	for _, name := range strings.Split(excluded, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.ExcludedNamespaces = append(o.ExcludedNamespaces, name)
		}
	}
	return o, nil
}

// checkInit says why the init is not to be given to containers: it does not run, or has another version, whose flags may
// differ.
func checkInit(ctx context.Context, o options) error {
	said, err := initprogram.Version(ctx, o.InitProgram)
	switch {
	case err != nil:
		return fmt.Errorf("-init-program: %w", err)
	case said != version.Version:
		return fmt.Errorf("-init-program: %s has version %.100s, podinit-node %s: use the images of one release", o.InitProgram, said, version.Version)
	}
	return nil
}
