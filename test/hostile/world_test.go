package hostile

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/test/controlplane"
)

const (
	usual    = "shop"    // namespace of the tenant that nothing may happen to
	attacked = "mallory" // namespace of the attacker
)

// world is what there is around the webhook. Of its two apiservers the first is the other tenant's, the second the attacker's.
type world struct {
	*controlplane.ControlPlane
	shop       *kubernetes.Clientset
	registries *registries
}

// newWorld starts etcd and two apiservers, and puts into them what podinit is deployed with, and two tenants.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registries: newRegistries(t)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var err error
	w.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Programs: *binFlag, Webhook: *webhookFlag, Directory: t.TempDir(), Niceness: []int{0, niceness}, Users: []string{usual, attacked}, Replicas: 1,
	})
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.shop, err = kubernetes.NewForConfig(w.RESTConfig(0, usual)); err != nil {
		t.Fatal(err)
	}
	create := func(object client.Object) {
		t.Helper()
		if err := w.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{usual, attacked} {
		if err := w.CreateNamespace(ctx, name, "enabled"); err != nil {
			t.Fatal(err)
		}
		// Without a controller manager the roles that are put together of others are empty.
		create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "edit", Namespace: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		})
	}
	create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull", Namespace: usual}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":"shop","password":%q}}}`, w.registries.good, goodPassword)},
	})
	if err := w.Write("registries.yaml", w.registries.config()); err != nil {
		t.Fatal(err)
	}
	return w
}

// until tries until it succeeds.
func until(t *testing.T, what string, do func() error) {
	t.Helper()
	if err := controlplane.Until(t.Context(), what, do); err != nil {
		t.Fatal(err)
	}
}

// startWebhook runs the webhook as its Deployment does, with more arguments if any, and waits until it is ready.
func (w *world) startWebhook(t *testing.T, more ...string) *controlplane.Webhook {
	t.Helper()
	hook, err := w.StartWebhook(t.Context(), 0, append(more, "-registry-config="+w.File("registries.yaml"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = hook.Stop() })
	return hook
}
