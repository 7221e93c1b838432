package operate

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/cluster"
)

// TestDeployOverHand changes by hand what the documentation advises, as another field manager, and deploys again: all of it
// is as deployed, and what is overwritten is named.
func TestDeployOverHand(t *testing.T) {
	how := installer(fromConfig{})
	how.uninstall(t)
	how.install(t, current(t))
	defer how.uninstall(t)
	kubectl := filepath.Join(running.Bin, "kubectl")
	run(t, kubectl, "-n", system, "set", "env", "deployment/"+deploymentName, "PODINIT_INIT_IMAGE="+cluster.Registry+"/mirror/init:v1", "BY_HAND=yes")
	run(t, kubectl, "-n", system, "scale", "deployment/"+deploymentName, "--replicas=1")

	deploy := exec.CommandContext(t.Context(), "make", "-C", root, "deploy", "KUBECTL="+kubectl, "INIT_IMAGE="+current(t).init, "WEBHOOK_IMAGE="+current(t).webhook)
	deploy.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	output, err := deploy.CombinedOutput()
	if err != nil {
		t.Fatalf("make deploy: %v\n%s", err, output)
	}
	for _, want := range []string{"make deploy overwrites what was changed by hand:", `.env[name="PODINIT_INIT_IMAGE"].value`, ".spec.replicas"} {
		if !strings.Contains(string(output), want) {
			t.Errorf("make deploy does not say %q:\n%s", want, output)
		}
	}
	d, err := client.AppsV1().Deployments(system).Get(t.Context(), deploymentName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := initImageOf(d); got != current(t).init || *d.Spec.Replicas != 2 {
		t.Errorf("after make deploy: %d replicas, init image %q; want 2, %q", *d.Spec.Replicas, got, current(t).init)
	}
}

func initImageOf(d *appsv1.Deployment) string {
	for _, variable := range d.Spec.Template.Spec.Containers[0].Env {
		if variable.Name == "PODINIT_INIT_IMAGE" {
			return variable.Value
		}
	}
	return ""
}
