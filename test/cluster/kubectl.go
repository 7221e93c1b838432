package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kubectl returns a command that runs kubectl against the cluster.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(c.Bin, "kubectl"), append([]string{"--kubeconfig", Kubeconfig}, args...)...)
}

// RunKubectl runs kubectl with an input and returns what it prints.
func (c *Cluster) RunKubectl(ctx context.Context, input string, args ...string) (string, error) {
	command := c.Kubectl(ctx, args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// InitDirectory takes the place of /var/lib/podinit: the cluster writes nowhere else on the machine.
const InitDirectory = Dir + "/podinit"

// ApplyWebhook applies config/deploy.yaml and config/prepull of the repository with these images and patches.
func (c *Cluster) ApplyWebhook(ctx context.Context, root, init, webhook, patches string) error {
	return c.Apply(ctx, root, "config/deploy.yaml", fmt.Sprintf(`
- target: {kind: DaemonSet, name: podinit-prepull}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/image, value: %q}
%scomponents: [../../config/prepull]
`, init, patches), "@INIT_IMAGE@", init, "@WEBHOOK_IMAGE@", webhook)
}

// ApplyNodeMode applies config/node of the repository with these images and JSON patches of the DaemonSet.
func (c *Cluster) ApplyNodeMode(ctx context.Context, root, init, node string, patches ...string) error {
	end := ""
	for _, patch := range patches {
		end += "    - " + patch + "\n"
	}
	return c.Apply(ctx, root, "test/cluster/node_mode.yaml", end, "@INIT_IMAGE@", init, "@NODE_IMAGE@", node, "@DIRECTORY@", InitDirectory)
}

// Apply applies a kustomization of the repository with values in the places of names, in pairs, and with more at its end.
func (c *Cluster) Apply(ctx context.Context, root, kustomization, more string, values ...string) error {
	text, err := os.ReadFile(filepath.Join(root, kustomization))
	if err != nil {
		return err
	}
	// It names its resources from a directory of bin.
	directory, err := os.MkdirTemp(filepath.Join(root, "bin"), "apply-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	made := strings.NewReplacer(values...).Replace(string(text)) + more
	if err := os.WriteFile(filepath.Join(directory, "kustomization.yaml"), []byte(made), 0o644); err != nil {
		return err
	}
	_, err = c.RunKubectl(ctx, "", "apply", "--server-side", "--force-conflicts", "-k", directory)
	return err
}
