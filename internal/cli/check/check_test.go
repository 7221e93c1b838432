package check

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/test/pki"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const serviceName = "podinit-webhook.podinit-system.svc"

func forbidden() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "", errors.New("you may not"))
}

func missing() error { return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "") }

// healthy are the facts of an installation that is in order.
func healthy(t *testing.T) *Facts {
	t.Helper()
	shipped, err := NewShipped()
	if err != nil {
		t.Fatal(err)
	}
	f := &Facts{
		Now: now, Shipped: shipped, Namespace: "podinit-system", InitImage: "r/init:1",
		Kubernetes:     Read[string]{Value: "v1.36.3+k3s1"},
		APIs:           Read[[]string]{Value: append([]string{"batch/v1"}, groupVersions...)},
		Definition:     Read[*apiextensionsv1.CustomResourceDefinition]{Value: shipped.Definition.DeepCopy()},
		Configuration:  Read[*admissionregistrationv1.MutatingWebhookConfiguration]{Value: shipped.Configuration.DeepCopy()},
		Service:        Read[*corev1.Service]{Value: shipped.Service.DeepCopy()},
		RegistryConfig: Read[string]{Value: "privateNetworks: [10.0.0.0/8]"},
		Reached:        Read[bool]{Value: true},
		Platforms:      Read[[]string]{Value: []string{"linux/amd64", "linux/arm64"}},
		Nodes: Read[[]Node]{Value: []Node{
			{Name: "a", Info: corev1.NodeSystemInfo{Architecture: "amd64", OperatingSystem: "linux", KubeletVersion: "v1.36.0", ContainerRuntimeVersion: "containerd://2.4.0"}, HasImage: true},
			{Name: "b", Info: corev1.NodeSystemInfo{Architecture: "arm64", OperatingSystem: "linux", KubeletVersion: "v1.30.0", ContainerRuntimeVersion: "containerd://1.7.0"}},
		}},
		Namespaces: Read[[]Namespace]{Value: []Namespace{
			{Name: "shop", Labels: map[string]string{v1alpha1.Inject: "enabled", corev1.LabelMetadataName: "shop"}},
			{Name: "podinit-system", Labels: map[string]string{"app.kubernetes.io/name": "podinit", corev1.LabelMetadataName: "podinit-system"}},
		}},
		Profiles: Read[[]v1alpha1.InitProfile]{Value: []v1alpha1.InitProfile{{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverAuto}}}},
		DryRun:   DryRun{Namespace: "shop", Answers: slices.Repeat([]DryRunAnswer{{Wrapped: true, Status: &v1alpha1.Status{Version: "v1"}}}, dryRuns)},
	}
	f.Definition.Value.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	for _, node := range []string{"a", "b"} {
		f.Canaries.Value = append(f.Canaries.Value, canary.Canary{UID: node, Node: node, State: canary.Running})
	}
	d := shipped.Deployment.DeepCopy()
	d.Status.Replicas, d.Status.ReadyReplicas, d.Status.UpdatedReplicas = 2, 2, 2
	f.Deployment.Value = d
	f.Keeper.Value = shipped.Keeper.DeepCopy()
	f.Keeper.Value.Status.Replicas, f.Keeper.Value.Status.ReadyReplicas, f.Keeper.Value.Status.UpdatedReplicas = 1, 1, 1
	f.Policy.Err, f.Bindings.Err = missing(), missing()
	f.Suspend.Err = missing()
	f.Plugin.Err, f.OnNodes.Err, f.PluginSuspend.Err = missing(), missing(), missing()
	yes := true
	f.Endpoints.Value = []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: &yes}}, {}}}}
	for _, name := range []string{"w1", "w2"} {
		f.Pods.Value = append(f.Pods.Value, webhookPod(name, "r/webhook@sha256:1"))
	}
	for _, object := range shipped.Objects {
		switch object.GetKind() {
		case "PodDisruptionBudget":
			f.Budgets.Value = append(f.Budgets.Value, policyv1.PodDisruptionBudget{
				Spec:   policyv1.PodDisruptionBudgetSpec{Selector: d.Spec.Selector},
				Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, ExpectedPods: 2, CurrentHealthy: 2},
			})
		case "ResourceQuota":
			f.Quotas.Value = append(f.Quotas.Value, corev1.ResourceQuota{
				Spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
					{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"system-cluster-critical"}},
				}}},
				Status: corev1.ResourceQuotaStatus{Hard: pods("20"), Used: pods("2")},
			})
		}
	}
	for _, right := range shipped.rights(f.Namespace) {
		right.Allowed.Value = true
		f.Rights = append(f.Rights, right)
	}
	authority := pki.NewAuthority("podinit-ca")
	f.Certificate.Value = issue(authority, now.AddDate(1, 0, 0), serviceName)
	f.bundle(authority)
	return f
}

func pods(n string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourcePods: resource.MustParse(n)}
}

func webhookPod(name, image string) corev1.Pod {
	controller := true
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "r", Controller: &controller}}},
		Spec:       corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Name: "webhook", Image: "r/webhook:1"}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "webhook", Ready: true, ImageID: image}}},
	}
}

// bundle has the webhook configuration trust an authority.
func (f *Facts) bundle(a *pki.Pair) {
	for i := range f.Configuration.Value.Webhooks {
		f.Configuration.Value.Webhooks[i].ClientConfig.CABundle = a.PEM()
	}
}

// issue makes a certificate of the authority for names that is valid for a year, until then.
func issue(authority *pki.Pair, until time.Time, names ...string) []byte {
	return authority.Issue(&x509.Certificate{DNSNames: names, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until}).PEM()
}

// TestInstallation breaks one thing at a time. Nothing but the checks that are about it may notice.
func TestInstallation(t *testing.T) {
	selector := func(f *Facts, s *metav1.LabelSelector) { first(f).NamespaceSelector = s }
	environment := func(f *Facts) []corev1.EnvVar { return f.Deployment.Value.Spec.Template.Spec.Containers[0].Env }
	for _, test := range []struct {
		name  string
		wreck func(*testing.T, *Facts)
		// want is the status and a part of what was found, by check.
		want map[string]string
	}{
		{"in order", func(*testing.T, *Facts) {}, nil},

		{"old Kubernetes", func(_ *testing.T, f *Facts) { f.Kubernetes.Value = "v1.29.9" }, map[string]string{"kubernetes-version": "failed: Kubernetes is v1.29.9"}},
		{"no admissionregistration v1", func(_ *testing.T, f *Facts) { f.APIs.Value = f.APIs.Value[2:] }, map[string]string{"kubernetes-apis": "failed: admissionregistration.k8s.io/v1 is not served"}},
		{"image volumes on old nodes", func(_ *testing.T, f *Facts) {
			f.Profiles.Value[0].Spec.Delivery = v1alpha1.DeliverByImageVolume
		}, map[string]string{"image-volumes": "failed: InitProfile default has delivery ImageVolume, but"}},

		{"no CRD", func(_ *testing.T, f *Facts) {
			f.Definition.Err, f.Profiles = missing(), Read[[]v1alpha1.InitProfile]{Err: missing()}
		}, map[string]string{
			"crd": "failed: CustomResourceDefinition initprofiles.podinit.dev is missing", "crd-schema": "not-checked",
		}},
		{"CRD not established", func(_ *testing.T, f *Facts) { f.Definition.Value.Status.Conditions = nil }, map[string]string{"crd": "failed: initprofiles.podinit.dev is not established"}},
		{"CRD serves nothing", func(_ *testing.T, f *Facts) { f.Definition.Value.Spec.Versions[0].Served = false }, map[string]string{"crd": "failed: initprofiles.podinit.dev does not serve v1alpha1"}},
		{"CRD of another version", func(_ *testing.T, f *Facts) {
			delete(f.Definition.Value.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties, "spec")
		}, map[string]string{"crd-schema": "warning: it has another version than this program"}},

		{"suspended by a ConfigMap", func(_ *testing.T, f *Facts) {
			f.Suspend = Read[*corev1.ConfigMap]{Value: &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)}, Data: map[string]string{"reason": "INC-42"},
			}}
			f.DryRun.Answers = []DryRunAnswer{{Status: &v1alpha1.Status{Reason: v1alpha1.ReasonSuspended}}}
		}, map[string]string{
			"suspended":   "warning: new pods are admitted unchanged, since ConfigMap podinit-suspend was created at 2030-01-01T00:00:00Z: INC-42",
			"dry-run-pod": "not-checked: podinit is suspended",
		}},
		{"suspended by the flag", func(_ *testing.T, f *Facts) {
			c := &f.Deployment.Value.Spec.Template.Spec.Containers[0]
			c.Args = append(c.Args, "-suspend")
		}, map[string]string{
			"suspended":   "warning: new pods are admitted unchanged, since Deployment podinit-webhook has flag -suspend",
			"dry-run-pod": "not-checked: podinit is suspended",
		}},
		{"suspended where the init is demanded", func(_ *testing.T, f *Facts) {
			f.Suspend = Read[*corev1.ConfigMap]{Value: &corev1.ConfigMap{}}
			f.Bindings = Read[[]admissionregistrationv1.ValidatingAdmissionPolicyBinding]{Value: []admissionregistrationv1.ValidatingAdmissionPolicyBinding{{
				ObjectMeta: metav1.ObjectMeta{Name: "podinit-wrapping"},
				Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}},
			}}}
		}, map[string]string{
			"suspended":   "failed: while podinit is suspended, ValidatingAdmissionPolicyBinding podinit-wrapping refuses new pods",
			"dry-run-pod": "not-checked: podinit is suspended",
		}},
		{"whether it is suspended may not be read", func(_ *testing.T, f *Facts) { f.Suspend.Err = forbidden() }, map[string]string{"suspended": "not-checked: forbidden"}},

		{"no configuration", func(_ *testing.T, f *Facts) { f.Configuration.Err = missing() }, map[string]string{
			"webhook-configuration": "failed: MutatingWebhookConfiguration zz-podinit is missing", "webhook-rules": "not-checked", "webhook-selectors": "not-checked",
			"webhook-conditions": "not-checked", "webhook-policy": "not-checked", "ca-bundle": "not-checked",
		}},
		{"an entry is missing", func(_ *testing.T, f *Facts) { second(f).Name = "other" }, map[string]string{
			"webhook-configuration": "failed: webhook pod.podinit.dev is missing in it",
		}},
		{"another path", func(_ *testing.T, f *Facts) { *second(f).ClientConfig.Service.Path = "/" }, map[string]string{
			"webhook-configuration": "failed: webhook pod.podinit.dev is called at another path",
		}},
		{"rules for something else", func(_ *testing.T, f *Facts) { first(f).Rules[0].Resources[0] = "deployments" }, map[string]string{
			"webhook-rules": "failed: webhook namespace.podinit.dev has no rule for CREATE of pods",
		}},
		{"rules for more", func(_ *testing.T, f *Facts) {
			r := &first(f).Rules[0]
			r.Operations = append(r.Operations, "UPDATE")
		}, map[string]string{"webhook-rules": "warning: webhook namespace.podinit.dev has other rules"}},
		{"selector lost", func(_ *testing.T, f *Facts) { selector(f, nil) }, map[string]string{
			"webhook-selectors": "failed: namespace.podinit.dev: namespaceSelector does not select",
		}},
		{"selector emptied", func(_ *testing.T, f *Facts) { selector(f, &metav1.LabelSelector{}) }, map[string]string{
			"webhook-selectors": "failed: namespace.podinit.dev: namespaceSelector selects namespaces that are labelled podinit.dev/inject=disabled, namespaces without the label podinit.dev/inject, namespace kube-system",
		}},
		{"selector for another label", func(_ *testing.T, f *Facts) {
			selector(f, &metav1.LabelSelector{MatchLabels: map[string]string{"inject": "yes"}})
		}, map[string]string{"webhook-selectors": "failed: namespace.podinit.dev: namespaceSelector does not select namespaces that are labelled podinit.dev/inject=enabled; it selects inject=yes"}},
		{"selector takes our own namespace", func(_ *testing.T, f *Facts) {
			values := &first(f).NamespaceSelector.MatchExpressions[1].Values
			*values = (*values)[:3]
		}, map[string]string{"webhook-selectors": "failed: namespace.podinit.dev: namespaceSelector selects namespace podinit-system, too"}},
		{"selector excludes one that opted in", func(_ *testing.T, f *Facts) {
			for i := range f.Configuration.Value.Webhooks {
				e := &f.Configuration.Value.Webhooks[i].NamespaceSelector.MatchExpressions[1]
				e.Values = append(e.Values, "shop")
			}
		}, map[string]string{"webhook-selectors": "warning: opted in, but excluded by the webhook configuration: namespaces shop"}},
		{"objectSelector", func(_ *testing.T, f *Facts) { second(f).ObjectSelector = nil }, map[string]string{
			"webhook-selectors": "failed: pod.podinit.dev: objectSelector does not select",
		}},
		{"condition missing", func(_ *testing.T, f *Facts) {
			c := &first(f).MatchConditions
			*c = (*c)[1:]
		}, map[string]string{"webhook-conditions": "failed: webhook namespace.podinit.dev lacks matchCondition not-opted-out-by-annotation"}},
		{"condition edited", func(_ *testing.T, f *Facts) {
			first(f).MatchConditions[0].Expression = "false"
		}, map[string]string{
			"webhook-conditions": "failed: webhook namespace.podinit.dev has another matchCondition not-opted-out-by-annotation: false",
		}},
		{"condition added", func(_ *testing.T, f *Facts) {
			c := &first(f).MatchConditions
			*c = append(*c, admissionregistrationv1.MatchCondition{Name: "mine", Expression: "true"})
		}, map[string]string{"webhook-conditions": "warning: webhook namespace.podinit.dev has a matchCondition that is not shipped: mine"}},
		{"condition folded otherwise", func(_ *testing.T, f *Facts) {
			c := &first(f).MatchConditions[0]
			c.Expression = strings.ReplaceAll(c.Expression, " ", "\n  ")
		}, nil},
		{"long timeout", func(_ *testing.T, f *Facts) { *first(f).TimeoutSeconds = 30 }, map[string]string{
			"webhook-policy": "warning: webhook namespace.podinit.dev has timeoutSeconds 30",
		}},
		{"Fail with one replica", func(_ *testing.T, f *Facts) {
			*first(f).FailurePolicy, *f.Deployment.Value.Spec.Replicas = "Fail", 1
			f.Deployment.Value.Status.Replicas = 1
		}, map[string]string{"webhook-policy": "warning: webhook namespace.podinit.dev has failurePolicy Fail", "deployment": "warning: there is one replica"}},
		{"never called again", func(_ *testing.T, f *Facts) { *first(f).ReinvocationPolicy = "Never" }, map[string]string{
			"webhook-policy": "warning: webhook namespace.podinit.dev is not called again",
		}},

		{"a right is missing", func(_ *testing.T, f *Facts) { right(f, "watch initprofiles.podinit.dev").Allowed.Value = false }, map[string]string{
			"rbac": "failed: podinit-webhook may not watch initprofiles.podinit.dev (ClusterRole podinit-webhook)",
		}},
		{"a right of the keeper is missing", func(_ *testing.T, f *Facts) {
			right(f, "update mutatingwebhookconfigurations.admissionregistration.k8s.io/zz-podinit").Allowed.Value = false
		}, map[string]string{
			"rbac": "failed: podinit-certificates may not update mutatingwebhookconfigurations.admissionregistration.k8s.io/zz-podinit (ClusterRole podinit-certificates)",
		}},
		{"pull secrets of some namespaces", func(_ *testing.T, f *Facts) { right(f, "get secrets").Allowed.Value = false }, nil},
		{"pull secrets of too few namespaces", func(_ *testing.T, f *Facts) {
			right(f, "get secrets").Allowed.Value, f.Unread.Value = false, []string{"shop"}
		}, map[string]string{
			"rbac": "warning: podinit-webhook may not get secrets in namespaces that have opted in: shop",
		}},

		{"no keeper", func(_ *testing.T, f *Facts) { f.Keeper.Err, f.KeeperPods.Err = missing(), missing() }, map[string]string{
			"certificate-keeper": "failed: no Deployment in namespace podinit-system is labelled app.kubernetes.io/name=podinit,app.kubernetes.io/component=certificates",
		}},
		{"the keeper is scaled to 0", func(_ *testing.T, f *Facts) { *f.Keeper.Value.Spec.Replicas = 0 }, map[string]string{
			"certificate-keeper": "failed: Deployment podinit-certificates is scaled to 0",
		}},
		{"the keeper is not ready", func(_ *testing.T, f *Facts) {
			f.Keeper.Value.Status.ReadyReplicas = 0
			pod := webhookPod("k", "r/webhook@sha256:1")
			pod.Status.ContainerStatuses[0].Ready = false
			f.KeeperPods.Value = append(f.KeeperPods.Value, pod)
		}, map[string]string{"certificate-keeper": "failed: pod k runs, but is not ready"}},
		{"the keeper is not rolled out", func(_ *testing.T, f *Facts) { f.Keeper.Value.Generation = 7 }, map[string]string{
			"certificate-keeper": "failed: the last change of Deployment podinit-certificates is not rolled out",
		}},
		{"no keeper, and another's certificate", func(_ *testing.T, f *Facts) {
			f.Keeper.Err, f.KeeperPods.Err = missing(), missing()
			c := installation.ContainerOf(f.Deployment.Value)
			c.Args = append(c.Args, "-certificate-directory=/etc/podinit/tls")
		}, nil},

		{"a policy", func(_ *testing.T, f *Facts) { f.policy() }, nil},
		{"a policy folded otherwise, with exemptions", func(_ *testing.T, f *Facts) {
			f.policy()
			for i := range f.Policy.Value.Spec.Variables {
				v := &f.Policy.Value.Spec.Variables[i]
				if v.Expression = strings.ReplaceAll(v.Expression, " ", "\n  "); v.Name == "exempt" {
					v.Expression = "[{'name': 'istio-proxy', 'repository': 'docker.io/istio/proxyv2'}]"
				}
			}
		}, nil},
		{"a policy for another image", func(_ *testing.T, f *Facts) {
			f.policy()
			f.InitImage = "registry.example:5000/podinit/init:v1@sha256:0"
		}, map[string]string{"wrapping-policy": "failed: ValidatingAdmissionPolicy podinit-wrapping requires the init of image r/init, and the webhook gives pods that of image registry.example:5000/podinit/init"}},
		{"a policy of another version", func(_ *testing.T, f *Facts) {
			f.policy()
			f.Policy.Value.Spec.Validations = f.Policy.Value.Spec.Validations[1:]
		}, map[string]string{"wrapping-policy": "warning: ValidatingAdmissionPolicy podinit-wrapping has another version than this program"}},
		{"a policy that lets errors pass", func(_ *testing.T, f *Facts) {
			f.policy()
			*f.Policy.Value.Spec.FailurePolicy = "Ignore"
		}, map[string]string{"wrapping-policy": "warning: ValidatingAdmissionPolicy podinit-wrapping has another version than this program"}},
		{"a policy that nothing binds", func(_ *testing.T, f *Facts) {
			f.policy()
			f.Bindings.Value = nil
		}, map[string]string{"wrapping-policy": "warning: no ValidatingAdmissionPolicyBinding names"}},
		{"pull secrets are off", func(_ *testing.T, f *Facts) {
			right(f, "get secrets").Allowed.Value = false
			c := installation.ContainerOf(f.Deployment.Value)
			c.Args = append(c.Args, "-pull-secrets=false")
		}, nil},
		{"another's certificate", func(_ *testing.T, f *Facts) {
			right(f, "update secrets/podinit-webhook-certificate -n podinit-system").Allowed.Value = false
			for i := range f.Rights {
				if f.Rights[i].Attributes.Resource == "mutatingwebhookconfigurations" {
					f.Rights[i].Allowed.Value = false
				}
			}
			c := installation.ContainerOf(f.Deployment.Value)
			c.Args = append(c.Args, "-certificate-directory=/etc/podinit/tls")
		}, nil},
		{"rights cannot be asked", func(_ *testing.T, f *Facts) {
			for i := range f.Rights {
				f.Rights[i].Allowed.Err = forbidden()
			}
		}, map[string]string{"rbac": "not-checked: forbidden"}},

		{"no Deployment", func(_ *testing.T, f *Facts) { f.Deployment.Err, f.Pods.Err = missing(), missing() }, map[string]string{
			"deployment": "failed: no Deployment in namespace podinit-system", "replicas": "not-checked", "suspended": "not-checked", "service": "not-checked",
			"disruption-budget": "not-checked", "critical-pods-quota": "not-checked",
		}},
		{"scaled to 0", func(_ *testing.T, f *Facts) { *f.Deployment.Value.Spec.Replicas = 0 }, map[string]string{"deployment": "failed: Deployment podinit-webhook is scaled to 0"}},
		{"one is not ready", func(_ *testing.T, f *Facts) {
			f.Deployment.Value.Status.ReadyReplicas = 1
			s := &f.Pods.Value[1].Status.ContainerStatuses[0]
			s.Ready = false
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "x\npodinit-webhook: no such file\n"}
		}, map[string]string{"deployment": "failed: pod w2 ended with exit code 1 (Error): podinit-webhook: no such file"}},
		{"image cannot be pulled", func(_ *testing.T, f *Facts) {
			s := &f.Pods.Value[1].Status.ContainerStatuses[0]
			s.Ready, s.State.Waiting = false, &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}
		}, map[string]string{"deployment": "failed: pod w2: ImagePullBackOff: not found"}},
		{"no room", func(_ *testing.T, f *Facts) {
			f.Deployment.Value.Status.UpdatedReplicas = 1
			f.Pods.Value[1].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/2 nodes"}}
		}, map[string]string{"deployment": "failed: pod w2 has no node: 0/2 nodes"}},
		{"rollout hangs", func(_ *testing.T, f *Facts) { f.Deployment.Value.Status.Replicas = 3 }, map[string]string{"deployment": "failed: 3 replicas run, 2 are wanted"}},
		{"the kubelet's port", func(_ *testing.T, f *Facts) { f.Deployment.Value.Spec.Template.Spec.HostNetwork = true }, map[string]string{"deployment": "failed: with hostNetwork, the kubelet uses port 10250"}},
		{"other versions", func(_ *testing.T, f *Facts) {
			f.Pods.Value[1].Status.ContainerStatuses[0].ImageID = "r/webhook@sha256:2"
		}, map[string]string{
			"replicas": "failed: replicas run different images, and pods are wrapped by one or the other: r/webhook@sha256:1 by w1; r/webhook@sha256:2 by w2",
		}},
		{"the init image is pulled with a Secret", func(_ *testing.T, f *Facts) {
			f.Kubernetes.Value = "v1.35.0"
			f.Deployment.Value.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
		}, map[string]string{"init-image-nodes": "warning: podinit's own pods pull it with a credential (Secrets: own)"}},
		{"the same where kubelets give it to all", func(_ *testing.T, f *Facts) {
			f.Kubernetes.Value = "v1.34.4"
			f.Deployment.Value.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
		}, nil},
		{"other images", func(_ *testing.T, f *Facts) { f.Pods.Value[1].Spec.Containers[0].Image = "r/webhook:2" }, map[string]string{
			"replicas": "failed: replicas run different images, and pods are wrapped by one or the other: r/webhook:1 by w1; r/webhook:2 by w2",
		}},
		{"other platforms", func(_ *testing.T, f *Facts) {
			f.Pods.Value[1].Spec.NodeName, f.Pods.Value[1].Status.ContainerStatuses[0].ImageID = "b", "r/webhook@sha256:2"
		}, nil},
		{"other versions on nodes that may not be read", func(_ *testing.T, f *Facts) {
			f.Nodes = Read[[]Node]{Err: forbidden()}
			f.Pods.Value[1].Status.ContainerStatuses[0].ImageID = "r/webhook@sha256:2"
		}, map[string]string{"image-volumes": "not-checked", "init-image-registry": "not-checked", "init-image-nodes": "not-checked", "init-image-breaker": "not-checked"}},
		{"another's pod", func(_ *testing.T, f *Facts) { f.Pods.Value[1].OwnerReferences = nil }, map[string]string{"replicas": "warning: pods that belong to no Deployment"}},
		{"registry configuration", func(_ *testing.T, f *Facts) { f.RegistryConfig.Value = "registry: []" }, map[string]string{"registry-config": "failed: the webhook cannot start with it"}},

		{"no Service", func(_ *testing.T, f *Facts) { f.Service.Err, f.Reached.Err = missing(), missing() }, map[string]string{
			"service": "failed: there is no Service podinit-webhook", "endpoints": "not-checked", "webhook-reachable": "not-checked",
		}},
		{"another port", func(_ *testing.T, f *Facts) { f.Service.Value.Spec.Ports[0].Port = 444 }, map[string]string{
			"service": "failed: the webhook configuration names port 443; Service podinit-webhook has 444",
		}},
		{"another target", func(_ *testing.T, f *Facts) { f.Service.Value.Spec.Ports[0].TargetPort = intstr.FromInt32(1) }, map[string]string{
			"service": "failed: Service podinit-webhook: targetPort 1 leads to 1; the webhook listens on 10250",
		}},
		{"unknown target", func(_ *testing.T, f *Facts) { f.Service.Value.Spec.Ports[0].TargetPort = intstr.FromString("https") }, map[string]string{
			"service": "failed: Service podinit-webhook: targetPort https is not a port of the webhook's container",
		}},
		{"no endpoints", func(_ *testing.T, f *Facts) {
			f.Endpoints.Value, f.Service.Value.Spec.Selector = nil, map[string]string{"app": "x"}
		}, map[string]string{"endpoints": "failed: Service podinit-webhook has no endpoints: its selector app=x does not match"}},
		{"unreachable", func(_ *testing.T, f *Facts) { f.Reached.Err = errors.New("dial tcp: i/o timeout") }, map[string]string{
			"webhook-reachable": "failed: asking Service podinit-webhook, port 443, through the apiserver: dial tcp: i/o timeout",
		}},
		{"another program answers", func(_ *testing.T, f *Facts) { f.Reached.Value = false }, map[string]string{"webhook-reachable": "failed: the program that answers"}},
		{"no budget", func(_ *testing.T, f *Facts) { f.Budgets.Value = nil }, map[string]string{"disruption-budget": "warning: no PodDisruptionBudget"}},
		{"tight budget", func(_ *testing.T, f *Facts) { f.Budgets.Value[0].Status.DisruptionsAllowed = 0 }, map[string]string{"disruption-budget": "warning: PodDisruptionBudget"}},
		{"no quota", func(_ *testing.T, f *Facts) { f.Quotas.Value = nil }, map[string]string{"critical-pods-quota": "warning: no ResourceQuota names priority class"}},
		{"quota used up", func(_ *testing.T, f *Facts) { f.Quotas.Value[0].Status.Used = pods("20") }, map[string]string{"critical-pods-quota": "warning: ResourceQuota"}},

		{"no Secret", func(_ *testing.T, f *Facts) { f.Certificate = Read[[]byte]{Err: missing()} }, map[string]string{
			"certificate": "failed: the Secret for the certificate is missing", "certificate-validity": "not-checked", "certificate-names": "not-checked", "ca-bundle": "not-checked",
		}},
		{"empty Secret", func(_ *testing.T, f *Facts) { f.Certificate.Value = nil }, map[string]string{
			"certificate": "failed: the Secret has no certificate yet", "certificate-validity": "not-checked", "certificate-names": "not-checked", "ca-bundle": "not-checked",
		}},
		{"Secret may not be read", func(_ *testing.T, f *Facts) { f.Certificate = Read[[]byte]{Err: forbidden()} }, map[string]string{
			"certificate": "not-checked: forbidden", "certificate-validity": "not-checked", "certificate-names": "not-checked", "ca-bundle": "not-checked",
		}},
		{"expired", func(t *testing.T, f *Facts) {
			a := pki.NewAuthority("podinit-ca")
			f.Certificate.Value = issue(a, now.Add(-time.Hour), serviceName)
			f.bundle(a)
		}, map[string]string{"certificate-validity": "failed: the certificate expired on 2029-12-31 23:00 UTC"}},
		{"not yet valid", func(t *testing.T, f *Facts) {
			a := pki.NewAuthority("podinit-ca")
			f.Certificate.Value = issue(a, now.AddDate(1, 0, 1), serviceName)
			f.bundle(a)
		}, map[string]string{"certificate-validity": "failed: the certificate is not valid before 2030-01-02"}},
		{"ends soon", func(t *testing.T, f *Facts) {
			a := pki.NewAuthority("podinit-ca")
			f.Certificate.Value = issue(a, now.AddDate(0, 0, 3), serviceName)
			f.bundle(a)
		}, map[string]string{"certificate-validity": "warning: the certificate expires on 2030-01-04"}},
		{"another name", func(t *testing.T, f *Facts) {
			a := pki.NewAuthority("podinit-ca")
			f.Certificate.Value = issue(a, now.AddDate(1, 0, 0), "podinit.example")
			f.bundle(a)
		}, map[string]string{"certificate-names": "failed: the apiserver asks for " + serviceName + "; the certificate is for podinit.example"}},
		{"another CA", func(t *testing.T, f *Facts) { f.bundle(pki.NewAuthority("other")) }, map[string]string{
			"ca-bundle": "failed: the caBundle of webhook namespace.podinit.dev does not match the certificate",
		}},
		{"old and new CA", func(t *testing.T, f *Facts) {
			before := first(f).ClientConfig.CABundle
			for i := range f.Configuration.Value.Webhooks {
				f.Configuration.Value.Webhooks[i].ClientConfig.CABundle = slices.Concat(pki.NewAuthority("old").PEM(), before)
			}
		}, nil},
		{"no caBundle", func(_ *testing.T, f *Facts) { second(f).ClientConfig.CABundle = nil }, map[string]string{
			"ca-bundle": "failed: webhook pod.podinit.dev has no caBundle",
		}},

		{"no init image", func(_ *testing.T, f *Facts) { environment(f)[0].Value, f.InitImage = "", "" }, map[string]string{
			"init-image": "failed: Deployment podinit-webhook says neither", "init-image-registry": "not-checked", "init-image-nodes": "not-checked",
		}},
		{"not in the registry", func(_ *testing.T, f *Facts) { f.Platforms = Read[[]string]{Err: remoteimage.ErrMissing} }, map[string]string{
			"init-image-registry": "failed: the registry does not have r/init:1", "init-image-nodes": "failed: these nodes do not have it, and the registry does not have it for them: b",
		}},
		{"registry out of reach", func(_ *testing.T, f *Facts) { f.Platforms = Read[[]string]{Err: errors.New("no route to host")} }, map[string]string{
			"init-image-registry": "not-checked: asking the registry for r/init:1 from here: no route to host", "init-image-nodes": "warning: these nodes do not have it yet, and this machine cannot ask the registry: b",
		}},
		{"an architecture is missing", func(_ *testing.T, f *Facts) { f.Platforms.Value = []string{"linux/amd64"} }, map[string]string{
			"init-image-registry": "failed: r/init:1 is not made for linux/arm64 (nodes: b)", "init-image-nodes": "failed: these nodes do not have it, and the registry does not have it for them: b",
		}},
		{"podinit's own pods wait", func(_ *testing.T, f *Facts) {
			f.Canaries.Value[1] = canary.Canary{Name: "podinit-prepull-x", UID: "x", Node: "b", State: canary.Waiting, Reason: "ErrImagePull", Message: "not found"}
		}, map[string]string{"init-image-breaker": "failed: new pods for linux/arm64 are left alone: pod podinit-prepull-x on node b: ErrImagePull: not found"}},
		{"one of podinit's own pods waits", func(_ *testing.T, f *Facts) {
			f.Canaries.Value = append(f.Canaries.Value, canary.Canary{UID: "x", Node: "c", State: canary.Waiting})
			f.Nodes.Value = append(f.Nodes.Value, f.Nodes.Value[0])
			f.Nodes.Value[2].Name = "c"
		}, nil},
		{"none of podinit's own pods tries the image", func(_ *testing.T, f *Facts) { f.Canaries.Value = nil }, map[string]string{
			"init-image-breaker": "not-checked: none of podinit's own pods pulls the init image",
		}},
		{"a replica waits for the init image", func(_ *testing.T, f *Facts) {
			f.Pods.Value = append(f.Pods.Value, webhookPod("w3", ""))
			s := &f.Pods.Value[2].Status
			s.ContainerStatuses[0].Ready, s.ContainerStatuses[0].State.Waiting = false, &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
			s.InitContainerStatuses = []corev1.ContainerStatus{{Name: "init", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}}
		}, map[string]string{"deployment": "failed: pod w3: ErrImagePull: not found"}},
		{"a pod waits", func(_ *testing.T, f *Facts) {
			f.Stuck.Value = []Stuck{{"shop", "web", "b", "r/init:1", "ErrImagePull: denied"}}
		}, map[string]string{"init-image-pulls": "failed: pod shop/web on node b waits for r/init:1: ErrImagePull: denied"}},
		{"a pod waits for what was", func(_ *testing.T, f *Facts) {
			f.Stuck.Value = []Stuck{{"shop", "web", "b", "r/init:0", "ErrImagePull: denied"}}
		}, map[string]string{"init-image-pulls": "warning: pod shop/web on node b waits for an earlier init image, r/init:0"}},

		{"no namespace has opted in", func(_ *testing.T, f *Facts) {
			delete(f.Namespaces.Value[0].Labels, v1alpha1.Inject)
			f.DryRun = DryRun{}
		}, map[string]string{"namespaces-labelled": "warning: no namespace is labelled", "dry-run-pod": "not-checked: no namespace has opted in"}},
		{"a label's value", func(_ *testing.T, f *Facts) { label(f, v1alpha1.Inject, "true") }, map[string]string{
			"namespace-labels": `warning: namespace new is labelled podinit.dev/inject="true", which is not a valid value`,
		}},
		{"a label's name", func(_ *testing.T, f *Facts) { label(f, "podinit.io/inject", "enabled") }, map[string]string{
			"namespace-labels": "warning: namespace new has the label podinit.io/inject, which has no effect; use podinit.dev/inject",
		}},
		{"our own namespace", func(_ *testing.T, f *Facts) { f.Namespaces.Value[1].Labels[v1alpha1.Inject] = "enabled" }, map[string]string{
			"namespace-labels": "warning: namespace podinit-system is labelled podinit.dev/inject=enabled, but podinit never touches it",
		}},
		{"an annotation", func(_ *testing.T, f *Facts) {
			f.Namespaces.Value[1].Annotations = map[string]string{v1alpha1.Inject: "enabled"}
		}, map[string]string{"namespace-labels": "warning: namespace podinit-system has the annotation podinit.dev/inject; on a namespace it must be a label"}},
		{"a profile that is not there", func(_ *testing.T, f *Facts) {
			f.Namespaces.Value[0].Annotations = map[string]string{v1alpha1.ProfileAnnotation: "nosuch"}
		}, map[string]string{"namespace-profiles": "warning: namespace shop names InitProfile nosuch, which does not exist"}},

		{"unwrapped", func(_ *testing.T, f *Facts) { f.DryRun.Answers[1] = DryRunAnswer{} }, map[string]string{
			"dry-run-pod": "failed: 1 of 4 pods in namespace shop were not wrapped",
		}},
		{"left alone", func(_ *testing.T, f *Facts) {
			f.DryRun.Answers[1] = DryRunAnswer{Status: &v1alpha1.Status{Containers: map[string]v1alpha1.ContainerStatus{"app": {Reason: v1alpha1.ReasonMemoryLimitTooSmall}}}}
		}, map[string]string{"dry-run-pod": "failed: the pod was not wrapped, because"}},
		{"two versions", func(_ *testing.T, f *Facts) { f.DryRun.Answers[1].Status = &v1alpha1.Status{Version: "v2"} }, map[string]string{
			"dry-run-pod": "failed: replicas of different versions answer: v1, v2",
		}},
		{"in a namespace that has not opted in", func(_ *testing.T, f *Facts) {
			label(f, v1alpha1.Inject, "disabled")
			f.DryRun = DryRun{Namespace: "new", Answers: make([]DryRunAnswer, 4)}
		}, map[string]string{"dry-run-pod": `not-checked: namespace new has not opted in (podinit.dev/inject is "disabled")`}},
		{"refused for want of podinit", func(_ *testing.T, f *Facts) {
			f.DryRun = DryRun{Namespace: "shop", Err: apierrors.NewInternalError(errors.New(`failed calling webhook "namespace.podinit.dev": failed to call webhook: x509: certificate signed by unknown authority`))}
		}, map[string]string{"dry-run-pod": "failed: no pod can be created in namespace shop: "}},
		{"refused by a policy", func(_ *testing.T, f *Facts) {
			f.DryRun = DryRun{Namespace: "shop", Err: apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("exceeded quota"))}
		}, map[string]string{"dry-run-pod": "not-checked: a pod is refused in namespace shop, which says nothing about podinit"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := healthy(t)
			test.wreck(t, f)
			got := map[string]string{}
			for _, r := range run(installationChecks, f) {
				for _, p := range r.Problems {
					found := string(p.Status) + ": " + p.Found
					if want, ok := test.want[r.Name]; ok && strings.HasPrefix(found, want) || got[r.Name] == "" {
						got[r.Name] = found
					}
				}
			}
			for name, want := range test.want {
				if found, ok := got[name]; ok && strings.HasPrefix(found, want) {
					got[name] = want
				}
			}
			if diff := cmp.Diff(test.want, got); len(got)+len(test.want) > 0 && diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// first and second are the entries for namespaces, and for pods that opt in themselves.
func first(f *Facts) *admissionregistrationv1.MutatingWebhook {
	return entryOf(f, "namespace.podinit.dev")
}
func second(f *Facts) *admissionregistrationv1.MutatingWebhook { return entryOf(f, "pod.podinit.dev") }

func right(f *Facts, want string) *Right {
	for i := range f.Rights {
		if f.Rights[i].String() == want {
			return &f.Rights[i]
		}
	}
	panic(fmt.Sprintf("there is no right to %s", want))
}

// policy installs the policy that demands the init.
func (f *Facts) policy() {
	f.Policy, f.Bindings = Read[*admissionregistrationv1.ValidatingAdmissionPolicy]{Value: f.Shipped.Policy.DeepCopy()}, Read[[]admissionregistrationv1.ValidatingAdmissionPolicyBinding]{}
	for i := range f.Policy.Value.Spec.Variables {
		if v := &f.Policy.Value.Spec.Variables[i]; v.Name == repositoryVariable {
			v.Expression = "'r/init'"
		}
	}
	f.Bindings.Value = []admissionregistrationv1.ValidatingAdmissionPolicyBinding{{Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: f.Policy.Value.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}}}
}

func label(f *Facts, key, value string) {
	f.Namespaces.Value = append(f.Namespaces.Value, Namespace{Name: "new", Labels: map[string]string{key: value, corev1.LabelMetadataName: "new"}})
}

// TestForbidden may read nothing at all: then nothing is checked, and nothing fails.
func TestForbidden(t *testing.T) {
	shipped, err := NewShipped()
	if err != nil {
		t.Fatal(err)
	}
	f := &Facts{Now: now, Shipped: shipped, Namespace: "podinit-system", Kubernetes: Read[string]{Value: "v1.36.3"}}
	f.APIs.Err, f.Nodes.Err, f.Namespaces.Err, f.Definition.Err, f.Profiles.Err = forbidden(), forbidden(), forbidden(), forbidden(), forbidden()
	f.Configuration.Err, f.Deployment.Err, f.Pods.Err, f.Service.Err, f.Endpoints.Err = forbidden(), forbidden(), forbidden(), forbidden(), forbidden()
	f.Certificate.Err, f.RegistryConfig.Err, f.Quotas.Err, f.Budgets.Err, f.Reached.Err = forbidden(), forbidden(), forbidden(), forbidden(), forbidden()
	f.Platforms.Err, f.Suspend.Err, f.InitImage = forbidden(), forbidden(), "r/init:1"
	f.Plugin.Err, f.OnNodes.Err, f.PluginSuspend.Err = forbidden(), forbidden(), forbidden()
	f.Canaries.Err, f.Stuck.Err, f.Keeper.Err, f.KeeperPods.Err, f.Policy.Err, f.Bindings.Err = forbidden(), forbidden(), forbidden(), forbidden(), forbidden(), forbidden()
	for _, right := range shipped.rights(f.Namespace) {
		right.Allowed.Err = forbidden()
		f.Rights = append(f.Rights, right)
	}
	for _, checks := range [][]check{installationChecks, before} {
		for _, r := range run(checks, f) {
			green := r.Status == Passed && r.Name != "kubernetes-version" && r.Name != "init-image" && r.Name != "install-rights"
			if r.Status == Failed || r.Status == Warning || green {
				t.Errorf("%s is %s: %v", r.Name, r.Status, r.Problems)
			}
		}
	}
}

// TestOneForbidden may not read one thing of an installation that is in order. What depends on it is not green, and nothing
// fails.
func TestOneForbidden(t *testing.T) {
	for what, test := range map[string]struct {
		forbid func(*Facts)
		want   []string
	}{
		"nodes": {func(f *Facts) { f.Nodes.Value, f.Nodes.Err = nil, forbidden() }, []string{"image-volumes", "init-image-registry", "init-image-nodes", "init-image-breaker"}},
		"namespaces": {func(f *Facts) { f.Namespaces.Value, f.Namespaces.Err = nil, forbidden() }, []string{
			"webhook-selectors", "namespaces-labelled", "namespace-labels", "namespace-profiles",
		}},
		"the Deployment": {func(f *Facts) {
			f.Deployment.Value, f.Deployment.Err, f.Pods.Err, f.RegistryConfig.Err, f.InitImage = nil, forbidden(), forbidden(), forbidden(), ""
		}, []string{
			"deployment", "replicas", "suspended", "registry-config", "service", "disruption-budget", "critical-pods-quota", "init-image", "init-image-registry", "init-image-nodes",
		}},
		"the webhook configuration": {func(f *Facts) { f.Configuration.Value, f.Configuration.Err = nil, forbidden() }, []string{
			"webhook-configuration", "webhook-rules", "webhook-selectors", "webhook-conditions", "webhook-policy", "ca-bundle",
		}},
		"DaemonSets": {func(f *Facts) {
			f.Plugin.Err, f.OnNodes.Err, f.PluginSuspend.Err = forbidden(), forbidden(), forbidden()
		}, []string{
			"node-plugin", "node-versions", "node-suspended", "node-containers",
		}},
		"InitProfiles":    {func(f *Facts) { f.Profiles.Value, f.Profiles.Err = nil, forbidden() }, []string{"image-volumes"}},
		"the certificate": {func(f *Facts) { f.Certificate.Err = forbidden() }, []string{"certificate", "certificate-validity", "certificate-names", "ca-bundle"}},
		"the Service":     {func(f *Facts) { f.Service.Value, f.Service.Err = nil, forbidden() }, []string{"service", "endpoints"}},
		"the policy":      {func(f *Facts) { f.Policy.Err, f.Bindings.Err = forbidden(), forbidden() }, []string{"wrapping-policy"}},
		"budgets":         {func(f *Facts) { f.Budgets.Err = forbidden() }, []string{"disruption-budget"}},
		"quotas":          {func(f *Facts) { f.Quotas.Err = forbidden() }, []string{"critical-pods-quota"}},
		"pods":            {func(f *Facts) { f.Stuck.Err = forbidden() }, []string{"init-image-pulls"}},
	} {
		f := healthy(t)
		test.forbid(f)
		var got []string
		for _, r := range run(installationChecks, f) {
			if r.Status != Passed {
				got = append(got, r.Name)
			}
			if r.Status == Failed || r.Status == Warning {
				t.Errorf("%s: %s is %s: %v", what, r.Name, r.Status, r.Problems)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: not green (-want +got):\n%s", what, diff)
		}
	}
}

// TestStrict: what could not be checked fails with --strict, and is never a green line.
func TestStrict(t *testing.T) {
	for _, tt := range []struct {
		report       Report
		good, strict bool
		first        string
	}{
		{Report{Passed: 9}, true, true, "✓"},
		{Report{Passed: 9, NotChecked: 1}, true, false, "–"},
		{Report{Passed: 9, Warnings: 1}, true, true, "‼"},
		{Report{Passed: 9, Warnings: 1, NotChecked: 1}, true, false, "‼"},
		{Report{Failed: 1}, false, false, "×"},
	} {
		if good, strict := tt.report.good(false), tt.report.good(true); good != tt.good || strict != tt.strict {
			t.Errorf("%+v: good %t, strictly %t", tt.report, good, strict)
		}
		if said := tt.report.summary(false); !strings.HasPrefix(said, tt.first+" ") {
			t.Errorf("%+v: %q", tt.report, said)
		}
	}
}

func TestBefore(t *testing.T) {
	fresh := func(t *testing.T) *Facts {
		f := healthy(t)
		f.Configuration.Err, f.Definition.Err = missing(), missing()
		f.Mine = f.Shipped.installRights(f.Namespace)
		for i := range f.Mine {
			f.Mine[i].Allowed.Value = true
		}
		return f
	}
	for name, test := range map[string]struct {
		wreck func(*Facts)
		want  string // the check, and its status
	}{
		"in order":  {func(*Facts) {}, ""},
		"old":       {func(f *Facts) { f.Kubernetes.Value = "v1.28.0" }, "kubernetes-version failed"},
		"no nodes":  {func(f *Facts) { f.Nodes.Value = nil }, "linux-nodes failed"},
		"odd nodes": {func(f *Facts) { f.Nodes.Value[0].Info.Architecture = "loong64"; f.Platforms.Err = errors.New("x") }, "linux-nodes warning"},
		"may not":   {func(f *Facts) { f.Mine[3].Allowed.Value = false }, "install-rights failed"},
		"may not grant": {func(f *Facts) {
			f.Mine = append(f.Mine, Right{Role: "ClusterRole x", Granted: true, Attributes: authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}})
		}, "install-rights failed"},
		"there is one":      {func(f *Facts) { f.Configuration.Err = nil }, "not-installed warning"},
		"no image anywhere": {func(f *Facts) { f.Platforms.Err = remoteimage.ErrMissing }, "init-image-registry failed"},
	} {
		f := fresh(t)
		test.wreck(f)
		got := ""
		for _, r := range run(before, f) {
			if r.Status == Failed || r.Status == Warning {
				got += r.Name + " " + string(r.Status)
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Names of checks are unique, and rights are asked for by the names that kubectl has for them.
func TestNames(t *testing.T) {
	for _, checks := range [][]check{installationChecks, before} {
		seen := map[string]bool{}
		for _, c := range checks {
			if seen[c.name] || titles[c.category] == "" {
				t.Errorf("check %s, category %s: twice, or without a title", c.name, c.category)
			}
			seen[c.name] = true
		}
	}
	shipped, err := NewShipped()
	if err != nil {
		t.Fatal(err)
	}
	var got []authorizationv1.ResourceAttributes
	for _, right := range shipped.installRights("n") {
		got = append(got, right.Attributes)
	}
	for _, want := range []authorizationv1.ResourceAttributes{
		{Verb: "create", Group: "policy", Resource: "poddisruptionbudgets", Namespace: "n"},
		{Verb: "create", Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"},
		{Verb: "create", Resource: "resourcequotas", Namespace: "n"},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no right %+v among %+v", want, got)
		}
	}
}

// The documentation has a row for each check.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../docs/cli-check.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range slices.Concat(installationChecks, before) {
		if !strings.Contains(string(text), "\n| `"+c.name+"` | ") {
			t.Errorf("docs/cli-check.md has no row for %s", c.name)
		}
	}
}
