// Command podinit-node gives the containers of one node the init as PID 1, by the node's container runtime.
//
// It is a plugin of the Node Resource Interface (NRI) of containerd and CRI-O: the runtime asks it about each container
// before that is created. It installs the init in a directory of the node, reads Namespaces and InitProfiles, and reads
// and writes nothing else in the cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/podinit/podinit/internal/logs"
	"github.com/podinit/podinit/internal/version"
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "podinit-node:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string) error {
	o, err := parse(args, os.Getenv)
	if err != nil {
		return err
	}
	if o.Version {
		_, err := fmt.Println(version.Version)
		return err
	}
	log := logs.New(os.Stderr, o.Verbosity)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	if err := checkInit(ctx, o); err != nil {
		return err
	}
	kubeconfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster, in the pod's service account and in KUBECONFIG: %w", err)
	}
	manager, err := newManager(o, kubeconfig, log)
	if err != nil {
		return err
	}
	log.Info("starting", "version", version.Version, "socket", o.Socket, "directory", o.Directory)
	return manager.Start(ctx)
}
