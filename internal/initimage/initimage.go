// Package initimage checks, when the webhook starts, that the init image that pods are to get holds an init of the webhook's
// version, and is the one that the webhook's own Pod has run.
package initimage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/initprogram"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/version"
)

// checkTime bounds the read of this Pod at the start.
const checkTime = 10 * time.Second

// Check is what is to be checked.
type Check struct {
	// Config says which init image pods get.
	Config inject.Config
	// Program is the init as it came out of the image; empty if it is not to be checked.
	Program string
	// Namespace and Pod are the webhook's own. Pod is empty if its init image is not to be checked.
	Namespace, Pod string
}

// Run says why no pod may get the init image: it is not the one that this Pod has run itself, or holds an init of another
// version, whose flags may differ. A webhook that does not start for it never replaces the replicas that serve.
func (c Check) Run(ctx context.Context, kubeconfig *rest.Config, log logr.Logger) error {
	if c.Program != "" {
		if err := c.program(ctx); err != nil {
			return err
		}
	}
	if c.Pod == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	client, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		return fmt.Errorf("setting up a client: %w", err)
	}
	pod, err := client.CoreV1().Pods(c.Namespace).Get(ctx, c.Pod, metav1.GetOptions{})
	if err != nil {
		log.Error(err, "cannot find out whether this pod has run the init image; continuing")
		return nil
	}
	return c.image(pod)
}

// image compares the init image with that of the Pod's own initContainer, as webhooks may have written it; a Pod
// without one passes.
func (c Check) image(pod *corev1.Pod) error {
	for _, own := range pod.Spec.InitContainers {
		if own.Name == canary.InitContainer && !c.Config.Stands(own.Image) {
			return fmt.Errorf("-init-image or $PODINIT_INIT_IMAGE, and the image of initContainer %q, must be the same: pods would get %q, and pod %s has run %q", own.Name, c.Config.Image, pod.Name, own.Image)
		}
	}
	return nil
}

// program runs the init that came out of the image.
func (c Check) program(ctx context.Context) error {
	said, err := initprogram.Version(ctx, c.Program)
	switch {
	case errors.Is(err, initprogram.ErrOther):
		return fmt.Errorf("init image %s: %w; set -init-image or $PODINIT_INIT_IMAGE to an image of podinit's init", c.Config.Image, err)
	case err != nil:
		return fmt.Errorf("the init of image %s: %w", c.Config.Image, err)
	case said != version.Version:
		return fmt.Errorf("init image %s has version %.100s, this webhook %s: use both images of one release", c.Config.Image, said, version.Version)
	}
	return nil
}
