package operate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// root of the repository.
const root = "../.."

// release is a version of podinit: its images, by digest.
type release struct {
	init, webhook string
}

// installer puts podinit on the cluster in one way.
type installer interface {
	// install installs a release or upgrades to it, and returns when it is rolled out.
	install(t *testing.T, r release)
	// uninstall removes everything.
	uninstall(t *testing.T)
}

// fromConfig installs from the directory config, by make.
type fromConfig struct{}

func (fromConfig) install(t *testing.T, r release) {
	t.Helper()
	run(t, "make", "-C", root, "deploy", "KUBECTL="+filepath.Join(running.Bin, "kubectl"), "INIT_IMAGE="+r.init, "WEBHOOK_IMAGE="+r.webhook)
}

func (fromConfig) uninstall(t *testing.T) {
	t.Helper()
	run(t, "make", "-C", root, "undeploy", "KUBECTL="+filepath.Join(running.Bin, "kubectl"))
}

// fromChart installs from the directory charts, by Helm.
type fromChart struct{ helm string }

func (c fromChart) install(t *testing.T, r release) {
	t.Helper()
	args := []string{"upgrade", "--install", "podinit", filepath.Join(root, "charts", "podinit"), "--namespace", system, "--create-namespace",
		"--wait", "--timeout", suite.Patience.String(), "--set", "images.registry=" + cluster.Registry + "/podinit"}
	for name, reference := range map[string]string{"init": r.init, "webhook": r.webhook} {
		_, digest, _ := strings.Cut(reference, "@")
		args = append(args, "--set", "images."+name+".digest="+digest)
	}
	run(t, c.helm, args...)
}

func (c fromChart) uninstall(t *testing.T) {
	t.Helper()
	run(t, c.helm, "uninstall", "podinit", "--namespace", system, "--ignore-not-found", "--wait")
	// Helm leaves the CustomResourceDefinition and the namespace.
	run(t, filepath.Join(running.Bin, "kubectl"), "delete", "namespace", system, "--ignore-not-found")
}

// run runs a program with the cluster's kubeconfig. Its output is the test's.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
}

// current is the release that make images has built.
func current(t *testing.T) release {
	t.Helper()
	return pushed(t, func(which string) (string, error) { return cluster.PushBuilt(t.Context(), *images, which) })
}

// next is a release of another version.
func next(t *testing.T, version string) release {
	t.Helper()
	return pushed(t, func(which string) (string, error) { return cluster.PushNext(t.Context(), *images, which, version) })
}

func pushed(t *testing.T, push func(which string) (string, error)) release {
	t.Helper()
	init, initErr := push("init")
	webhook, webhookErr := push("webhook")
	if err := errors.Join(initErr, webhookErr); err != nil {
		t.Fatal(err)
	}
	return release{init: init, webhook: webhook}
}
