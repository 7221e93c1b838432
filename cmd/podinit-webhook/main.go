// Command podinit-webhook serves podinit's mutating admission webhook.
//
// It needs nothing in the cluster beforehand but the objects in config/. With -certificates it serves nothing, but makes
// and renews the certificate, keeps it in a Secret that all replicas share, and writes the CA into the
// MutatingWebhookConfiguration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no CA roots of its own
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/podinit/podinit/internal/initimage"
	"github.com/podinit/podinit/internal/logs"
	"github.com/podinit/podinit/internal/version"
	"github.com/podinit/podinit/internal/webhookoptions"
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "podinit-webhook:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string) error {
	o, err := webhookoptions.Parse(args, os.Getenv)
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

	kubeconfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster, in the pod's service account and in KUBECONFIG: %w", err)
	}
	if o.Certificates {
		manager, err := newCertificates(ctx, o, kubeconfig, log)
		if err != nil {
			return err
		}
		log.Info("starting", "version", version.Version, "keeps", certificateNames(o).Secret.String())
		return manager.Start(ctx)
	}
	check := initimage.Check{Config: o.Injection(), Program: o.InitProgram, Namespace: o.Namespace, Pod: o.Pod}
	if err := check.Run(ctx, kubeconfig, log); err != nil {
		return err
	}
	manager, err := newManager(ctx, o, kubeconfig, log)
	if err != nil {
		return err
	}
	log.Info("starting", "version", version.Version, "initImage", o.InitImage, "port", o.Port)
	return manager.Start(ctx)
}
