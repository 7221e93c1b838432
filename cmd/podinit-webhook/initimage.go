package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/version"
)

// checkTime bounds each of the checks of the init image at the start.
const checkTime = 10 * time.Second

// checkInit says why no Pod may get the init image: it is not the one that this Pod has run itself, or holds an init of
// another version, whose flags may differ. A webhook that does not start for it never replaces the replicas that serve.
func checkInit(ctx context.Context, o options, kubeconfig *rest.Config, log logr.Logger) error {
	if o.InitProgram != "" {
		if err := checkInitProgram(ctx, o); err != nil {
			return err
		}
	}
	if o.Pod == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	client, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		return fmt.Errorf("setting up a client: %w", err)
	}
	pod, err := client.CoreV1().Pods(o.Namespace).Get(ctx, o.Pod, metav1.GetOptions{})
	if err != nil {
		log.Error(err, "not known whether this pod itself has run the init image; going on")
		return nil
	}
	return checkInitImage(o.InitImage, pod)
}

// checkInitImage compares the init image with that of the Pod's own initContainer; a Pod without one passes.
func checkInitImage(image string, pod *corev1.Pod) error {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == canary.InitContainer && c.Image != image {
			return fmt.Errorf("-init-image or $PODINIT_INIT_IMAGE, and the image of initContainer %q, must be the same: pods would get %q, and pod %s has run %q", c.Name, image, pod.Name, c.Image)
		}
	}
	return nil
}

// checkInitProgram runs the init that came out of the image.
func checkInitProgram(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	command := exec.CommandContext(ctx, o.InitProgram, "version")
	const most = 1 << 10
	var out bytes.Buffer
	command.Stdout = &bounded{to: &out, left: most}
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return fmt.Errorf("running %s version, the init of image %s: %w", o.InitProgram, o.InitImage, err)
	}
	said, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "podinit ")
	switch {
	case !ok:
		return fmt.Errorf("%s, the init of image %s, says that it is %.100q: name an image of podinit's init with -init-image or $PODINIT_INIT_IMAGE", o.InitProgram, o.InitImage, out.String())
	case said != version.Version:
		return fmt.Errorf("init image %s has version %.100s, this webhook %s: use both images of one release", o.InitImage, said, version.Version)
	}
	return nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	to   *bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.to.Write(p[:n])
	b.left -= n
	return len(p), nil
}
