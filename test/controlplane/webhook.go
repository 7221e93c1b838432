package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// InitImage is the reference that the webhook gives to pods. Nothing pulls it.
const InitImage = "registry.example/podinit/init:v1"

// replica is one of the webhook's, whether it runs or not.
type replica struct {
	address, health, metrics string
	group                    *group
}

func newReplica() *replica {
	return &replica{address: Free(), health: Free(), metrics: Free(), group: &group{}}
}

// WebhookAddress is where the apiservers call the webhook.
func (c *ControlPlane) WebhookAddress() string { return c.replicas[0].address }

// Webhook is a replica that runs.
type Webhook struct {
	*Program
	// Metrics is the URL of its metrics.
	Metrics string

	group  *group
	before int // processes that the memory limit had ended
	once   sync.Once
}

// StartWebhook runs a replica as the Deployment does, with more arguments if any, in which DIRECTORY stands for that of the
// certificates, and returns when it is ready.
func (c *ControlPlane) StartWebhook(ctx context.Context, i int, more ...string) (*Webhook, error) {
	r := c.replicas[i]
	_, port, _ := net.SplitHostPort(r.address)
	// The shell is in the cgroup before it becomes the webhook.
	args := []string{"-c", `echo $$ >"$0" && exec "$@"`, r.group.procs(), c.options.Webhook, "-init-image=" + InitImage, "-port=" + port,
		"-metrics-bind-address=" + r.metrics, "-health-probe-bind-address=" + r.health, "-namespace=" + Namespace,
		"-certificate-directory=" + c.options.Directory}
	for _, argument := range more {
		args = append(args, strings.ReplaceAll(argument, "DIRECTORY", c.options.Directory))
	}
	r.group.reset()
	w := &Webhook{Metrics: "http://" + r.metrics + "/metrics", group: r.group, before: r.group.killed()}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.File("kubeconfig"), "GOMEMLIMIT="+c.goLimit)
	var err error
	if w.Program, err = c.run("webhook", cmd); err != nil {
		return nil, err
	}
	return w, Until(ctx, "the webhook to be ready", func() error {
		if err := w.Ended(); err != nil {
			return fmt.Errorf("%w:\n%s", err, w.Tail())
		}
		response, err := http.Get("http://" + r.health + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
}

// Used is the memory that it uses now, in bytes, as its limit counts it, and Peak the most that it has used.
func (w *Webhook) Used() int64 { return w.group.read(w.group.usage) }

// Peak is the most memory that it has used, in bytes.
func (w *Webhook) Peak() int64 { return w.group.read(w.group.peak) }

// Stop ends it, and returns the most memory that it has used; it is an error if it has ended by itself.
func (w *Webhook) Stop() (peak int64, err error) {
	w.once.Do(func() {
		peak = w.Peak()
		err = w.Ended()
		w.Kill()
		if n := w.group.killed() - w.before; n > 0 {
			err = errors.Join(err, errors.New("the memory limit has ended it"))
		}
	})
	return peak, err
}
