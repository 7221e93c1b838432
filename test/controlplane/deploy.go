package controlplane

import (
	"context"
	"fmt"
	"os"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/config"
)

// kindsInOrder are those of what is put into the apiservers, what others need first.
var kindsInOrder = [][]string{
	{"Namespace", "CustomResourceDefinition"}, {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	{"MutatingWebhookConfiguration", "Deployment"},
}

// deploy applies what config/ deploys, with the webhook's address in place of its Service. The Deployment is not created: the
// webhook is started as it says.
func (c *ControlPlane) deploy(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	var err error
	if c.Admin, err = client.New(c.RESTConfig(0, "admin"), client.Options{}); err != nil {
		return err
	}
	objects, err := config.Objects()
	if err != nil {
		return err
	}
	for _, kinds := range kindsInOrder {
		for _, object := range objects {
			if slices.Contains(kinds, object.GetKind()) {
				if err := c.deployOne(ctx, object); err != nil {
					return err
				}
			}
		}
	}
	// No certificate of the apiservers is checked, so it takes no more than a token to be the webhook.
	hours := int64(6 * 3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "podinit-webhook"}}
	if err := c.Admin.SubResource("token").Create(ctx, account, request); err != nil {
		return fmt.Errorf("creating a token for the webhook: %w", err)
	}
	if err := c.WriteKubeconfig("kubeconfig", "https://"+c.APIServers[0], request.Status.Token); err != nil {
		return err
	}
	for i, r := range c.replicas {
		if r.group, err = newGroup(i, c.Memory); err != nil {
			return err
		}
	}
	return nil
}

// Create creates an object, unless it is there already. It tries again, since what the object needs may not be there yet.
func (c *ControlPlane) Create(ctx context.Context, object client.Object) error {
	return Until(ctx, "creating "+object.GetName(), func() error { return client.IgnoreAlreadyExists(c.Admin.Create(ctx, object)) })
}

// CreateNamespace creates a namespace in which pods can be created without a controller manager, with this label
// podinit.dev/inject; without one if that is empty.
func (c *ControlPlane) CreateNamespace(ctx context.Context, name, inject string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if inject != "" {
		namespace.Labels = map[string]string{v1alpha1.Inject: inject}
	}
	if err := c.Create(ctx, namespace); err != nil {
		return err
	}
	return c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}})
}

// deployOne puts one object of config/ into the cluster, or learns from it how the webhook is run.
func (c *ControlPlane) deployOne(ctx context.Context, object unstructured.Unstructured) error {
	switch object.GetKind() {
	case "Deployment":
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			return err
		}
		if deployment.Name != "podinit-webhook" {
			return nil
		}
		limit := deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory()
		c.Memory, c.goLimit = limit.Value(), fmt.Sprintf("%d000000", limit.Value()>>20) // as the Deployment's environment says
		return nil
	case "MutatingWebhookConfiguration":
		var configuration admissionregistrationv1.MutatingWebhookConfiguration
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &configuration); err != nil {
			return err
		}
		ca, err := os.ReadFile(c.File("ca.crt"))
		if err != nil {
			return err
		}
		url := "https://" + c.replicas[0].address + "/mutate"
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}
		}
		return c.Create(ctx, &configuration)
	}
	return c.Create(ctx, &object)
}
