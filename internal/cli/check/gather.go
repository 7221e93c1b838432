package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/pages"
)

const (
	// keeperSelector and keeperName are of what keeps the certificate.
	keeperSelector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=certificates"
	keeperName     = "podinit-certificates"
)

// Gatherer reads facts from a cluster. It changes nothing but, with Temporary, one namespace.
type Gatherer struct {
	Client kubernetes.Interface
	// Shipped is what podinit installs.
	Shipped Shipped
	// Images asks registries.
	Images func(ctx context.Context, image string) ([]string, error)
	// Namespace of the installation; if it is empty, that which the webhook configuration names.
	Namespace string
	// InitImage is what to look for before there is an installation.
	InitImage string
	// DryRunNamespace is where the dry-run pod goes; if it is empty, some namespace that opted in.
	DryRunNamespace string
	// Temporary makes a namespace for that, and deletes it.
	Temporary bool
}

// Cluster reads what counts before anything is installed.
func (g *Gatherer) Cluster(ctx context.Context) *Facts {
	f := &Facts{Now: time.Now(), Shipped: g.Shipped, Namespace: g.Namespace, InitImage: g.InitImage}
	version, err := g.Client.Discovery().ServerVersion()
	f.Kubernetes.Err = err
	if err == nil {
		f.Kubernetes.Value = version.GitVersion
	}
	groups, err := g.Client.Discovery().ServerGroups()
	f.APIs.Err = err
	if err == nil {
		f.APIs.Value = metav1.ExtractGroupVersions(groups)
	}
	return f
}

// Before reads what counts before podinit is installed.
func (g *Gatherer) Before(ctx context.Context) *Facts {
	f := g.Cluster(ctx)
	if f.Namespace == "" {
		f.Namespace = g.Shipped.Deployment.Namespace
	}
	g.configuration(ctx, f)
	g.definition(ctx, f)
	g.images(ctx, f)
	f.Mine = g.review(ctx, g.Shipped.installRights(f.Namespace), g.mine)
	escalate := Right{Attributes: authorizationv1.ResourceAttributes{Verb: "escalate", Group: rbacv1.GroupName, Resource: "clusterroles"}}
	if may, err := g.mine(ctx, escalate); err == nil && !may {
		granted := g.review(ctx, g.Shipped.rights(f.Namespace), g.mine)
		for i := range granted {
			granted[i].Granted = true
		}
		f.Mine = append(f.Mine, granted...)
	}
	return f
}

// Installation reads all there is to know about an installation.
func (g *Gatherer) Installation(ctx context.Context) *Facts {
	f := g.Cluster(ctx)
	g.configuration(ctx, f)
	if f.Namespace == "" {
		f.Namespace = g.Shipped.Deployment.Namespace
		if f.Configuration.Err == nil {
			for _, w := range f.Configuration.Value.Webhooks {
				if w.ClientConfig.Service != nil {
					f.Namespace = w.ClientConfig.Service.Namespace
				}
			}
		}
	}
	g.definition(ctx, f)
	g.profiles(ctx, f)
	g.namespaces(ctx, f)
	g.deployment(ctx, f)
	g.service(ctx, f)
	g.plugin(ctx, f)
	g.images(ctx, f)
	g.onNodes(ctx, f)
	g.canaries(ctx, f)
	g.stuck(ctx, f)
	f.Rights = g.review(ctx, g.Shipped.rights(f.Namespace), g.others(f))
	g.unread(ctx, f)
	g.policy(ctx, f)
	g.reach(ctx, f)
	g.dryRun(ctx, f)
	return f
}

func (g *Gatherer) configuration(ctx context.Context, f *Facts) {
	client := g.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	name := g.Shipped.Configuration.Name
	f.Configuration = readOf(client.Get(ctx, name, metav1.GetOptions{}))
	if !f.Configuration.missing() {
		return
	}
	// Somebody may have given it another name.
	all, err := client.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=podinit", Limit: pages.Size})
	if err == nil && len(all.Items) > 0 {
		f.Configuration = Read[*admissionregistrationv1.MutatingWebhookConfiguration]{Value: &all.Items[0]}
	}
}

// definition is read without a client of its own kind, which would be as large as all others together.
func (g *Gatherer) definition(ctx context.Context, f *Facts) {
	raw, err := g.Client.Discovery().RESTClient().Get().
		AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", g.Shipped.Definition.Name).DoRaw(ctx)
	f.Definition.Err = err
	if err == nil {
		f.Definition.Value = &apiextensionsv1.CustomResourceDefinition{}
		f.Definition.Err = yaml.Unmarshal(raw, f.Definition.Value)
	}
}

func (g *Gatherer) profiles(ctx context.Context, f *Facts) {
	raw, err := g.Client.Discovery().RESTClient().Get().
		AbsPath("/apis/"+v1alpha1.GroupVersion.String()+"/initprofiles").Param("limit", "500").DoRaw(ctx)
	if err == nil {
		var list v1alpha1.InitProfileList
		err = yaml.Unmarshal(raw, &list)
		f.Profiles.Value = list.Items
	}
	f.Profiles.Err = err
}

// namespaces leaves those out that are on their way out: no pod can be created there.
func (g *Gatherer) namespaces(ctx context.Context, f *Facts) {
	f.Namespaces.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := g.Client.CoreV1().Namespaces().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, n := range list.Items {
			if n.DeletionTimestamp == nil {
				f.Namespaces.Value = append(f.Namespaces.Value, Namespace{n.Name, n.Labels, n.Annotations})
			}
		}
		return list, nil
	})
}

func (g *Gatherer) deployment(ctx context.Context, f *Facts) {
	f.Deployment, f.Pods = g.labelled(ctx, f.Namespace, installation.Selector)
	f.Keeper, f.KeeperPods = g.labelled(ctx, f.Namespace, keeperSelector)
	quotas, err := g.Client.CoreV1().ResourceQuotas(f.Namespace).List(ctx, metav1.ListOptions{Limit: pages.Size})
	if f.Quotas.Err = err; err == nil {
		f.Quotas.Value = quotas.Items
	}
	budgets, err := g.Client.PolicyV1().PodDisruptionBudgets(f.Namespace).List(ctx, metav1.ListOptions{Limit: pages.Size})
	if f.Budgets.Err = err; err == nil {
		f.Budgets.Value = budgets.Items
	}
	f.Suspend = readOf(g.Client.CoreV1().ConfigMaps(f.Namespace).Get(ctx, v1alpha1.SuspendConfigMap, metav1.GetOptions{}))
	f.Certificate, f.RegistryConfig = g.certificate(ctx, f), g.registryConfig(ctx, f)
}

// labelled is the Deployment with these labels, and the pods of its selector.
func (g *Gatherer) labelled(ctx context.Context, namespace, with string) (d Read[*appsv1.Deployment], pods Read[[]corev1.Pod]) {
	found, err := installation.FindLabelled(ctx, g.Client, namespace, with)
	if errors.Is(err, installation.ErrMissing) {
		err = apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, with)
	}
	if d.Err, pods.Err = err, err; err != nil {
		return d, pods
	}
	d.Value = found
	selector, err := selectorOf(d.Value.Spec.Selector)
	if err != nil {
		return d, pods
	}
	pods.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector = selector
		list, err := g.Client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		pods.Value = append(pods.Value, list.Items...)
		return list, nil
	})
	return d, pods
}

// unread asks for the rights on pull secrets namespace by namespace.
func (g *Gatherer) unread(ctx context.Context, f *Facts) {
	for _, right := range f.Rights {
		if !right.Optional || right.Allowed.Err != nil || right.Allowed.Value {
			continue
		}
		asked := 0
		for _, n := range f.Namespaces.Value {
			if n.Labels[v1alpha1.Inject] != v1alpha1.InjectEnabled || excluded(f, n.Name) || asked == maxAsked {
				continue
			}
			asked++
			there := right
			there.Attributes.Namespace = n.Name
			may, err := g.others(f)(ctx, there)
			if err != nil {
				f.Unread.Err = err
				return
			}
			if !may && !slices.Contains(f.Unread.Value, n.Name) {
				f.Unread.Value = append(f.Unread.Value, n.Name)
			}
		}
	}
}

// policy reads the policy that demands wrapping, and what binds it.
func (g *Gatherer) policy(ctx context.Context, f *Facts) {
	client := g.Client.AdmissionregistrationV1()
	name := g.Shipped.Policy.Name
	f.Policy = readOf(client.ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{}))
	if f.Policy.Err != nil {
		f.Bindings.Err = f.Policy.Err
		return
	}
	f.Bindings.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.ValidatingAdmissionPolicyBindings().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, b := range list.Items {
			if b.Spec.PolicyName == name {
				f.Bindings.Value = append(f.Bindings.Value, b)
			}
		}
		return list, nil
	})
}

func selectorOf(s *metav1.LabelSelector) (string, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "", err
	}
	return selector.String(), nil
}

// certificate is in the Secret that the Deployment names. Nothing but the certificate is kept of it.
func (g *Gatherer) certificate(ctx context.Context, f *Facts) Read[[]byte] {
	name := "podinit-webhook-certificate"
	if f.Deployment.Err == nil {
		file := installation.Flag(f.Deployment.Value, certificateDirectory) + "/" + corev1.TLSCertKey
		if volume, _ := installation.VolumeAt(f.Deployment.Value, file); volume != nil && volume.Secret != nil {
			name = volume.Secret.SecretName
		} else if said := installation.Flag(f.Deployment.Value, "secret"); said != "" {
			name = said
		}
	}
	secret, err := g.Client.CoreV1().Secrets(f.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Read[[]byte]{Err: err}
	}
	return Read[[]byte]{Value: secret.Data[corev1.TLSCertKey]}
}

// certificateDirectory is the webhook's flag for a certificate that podinit does not make and renew.
const certificateDirectory = "certificate-directory"

// registryConfig is the file that the Deployment's flag -registry-config names, in what is mounted there.
func (g *Gatherer) registryConfig(ctx context.Context, f *Facts) Read[string] {
	if f.Deployment.Err != nil {
		return Read[string]{Err: f.Deployment.Err}
	}
	at := installation.Flag(f.Deployment.Value, "registry-config")
	if at == "" {
		return Read[string]{Err: apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "registry configuration")}
	}
	files, err := installation.Files(ctx, g.Client, f.Deployment.Value, at)
	if err != nil {
		return Read[string]{Err: err}
	}
	return Read[string]{Value: string(files["."])}
}

func (g *Gatherer) service(ctx context.Context, f *Facts) {
	name, _ := serviceOf(f)
	f.Service = readOf(g.Client.CoreV1().Services(f.Namespace).Get(ctx, name, metav1.GetOptions{}))
	slices, err := g.Client.DiscoveryV1().EndpointSlices(f.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name, Limit: pages.Size})
	if f.Endpoints.Err = err; err == nil {
		f.Endpoints.Value = slices.Items
	}
}

// serviceOf is the Service that the webhook configuration names, or else the one that is shipped, and its port.
func serviceOf(f *Facts) (name string, port int32) {
	name, port = f.Shipped.Service.Name, 443
	if f.Configuration.Err == nil {
		for _, w := range f.Configuration.Value.Webhooks {
			if s := w.ClientConfig.Service; s != nil {
				if name = s.Name; s.Port != nil {
					port = *s.Port
				}
			}
		}
	}
	return name, port
}

// images asks the nodes and the registry for the init image.
func (g *Gatherer) images(ctx context.Context, f *Facts) {
	if f.InitImage == "" && f.Deployment.Err == nil && f.Deployment.Value != nil {
		f.InitImage = installation.InitImage(f.Deployment.Value)
	}
	f.Nodes.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := g.Client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, n := range list.Items {
			if n.Status.NodeInfo.OperatingSystem == "linux" || n.Status.NodeInfo.OperatingSystem == "" {
				f.Nodes.Value = append(f.Nodes.Value, Node{
					Name: n.Name, Info: n.Status.NodeInfo, HasImage: holds(n.Status.Images, f.InitImage), Listed: len(n.Status.Images),
					NodeMode: f.Plugin.Err == nil && f.Plugin.Value != nil && nodes.Wanted(f.Plugin.Value, &n),
				})
			}
		}
		return list, nil
	})
	if f.InitImage != "" {
		f.Platforms = readOf(g.Images(ctx, f.InitImage))
	}
}

// stuck looks for containers that wait for the init image, among pods that are wrapped and have not started.
func (g *Gatherer) stuck(ctx context.Context, f *Facts) {
	f.Stuck.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector, options.FieldSelector = v1alpha1.VersionLabel, "status.phase=Pending"
		list, err := g.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, pod := range list.Items {
			if s, ok := stuckOn(&pod); ok && len(f.Stuck.Value) < maxNames {
				f.Stuck.Value = append(f.Stuck.Value, s)
			}
		}
		return list, nil
	})
}

// stuckOn says whether the kubelet has failed to pull the init image.
func stuckOn(pod *corev1.Pod) (Stuck, bool) {
	wait, ok := canary.Waits(pod)
	return Stuck{Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName, Image: wait.Image,
		Message: wait.Reason + ": " + wait.Message}, ok
}

// review asks for each right whether it is granted.
func (g *Gatherer) review(ctx context.Context, rights []Right, ask func(context.Context, Right) (bool, error)) []Right {
	for i := range rights {
		rights[i].Allowed = readOf(ask(ctx, rights[i]))
		if apierrors.IsForbidden(rights[i].Allowed.Err) {
			for j := i + 1; j < len(rights); j++ {
				rights[j].Allowed.Err = rights[i].Allowed.Err
			}
			break
		}
	}
	return rights
}

// others asks what podinit's service accounts may do: those that its Deployments name, or else those that are shipped.
func (g *Gatherer) others(f *Facts) func(context.Context, Right) (bool, error) {
	accounts := map[string]string{}
	for _, d := range []struct {
		there   Read[*appsv1.Deployment]
		shipped *appsv1.Deployment
	}{{f.Deployment, &g.Shipped.Deployment}, {f.Keeper, &g.Shipped.Keeper}} {
		account := d.shipped.Spec.Template.Spec.ServiceAccountName
		if accounts[account] = account; d.there.Err == nil {
			accounts[account] = cmp.Or(d.there.Value.Spec.Template.Spec.ServiceAccountName, "default")
		}
	}
	return func(ctx context.Context, right Right) (bool, error) {
		review, err := g.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				ResourceAttributes: &right.Attributes,
				User:               "system:serviceaccount:" + f.Namespace + ":" + accounts[right.Account],
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + f.Namespace, "system:authenticated"},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed, nil
	}
}

// mine asks whether the user of the command has a right.
func (g *Gatherer) mine(ctx context.Context, right Right) (bool, error) {
	review, err := g.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right.Attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// reach sends the webhook a review of a pod in podinit's own namespace, which it never touches: it is counted as unchanged,
// and no alert and no line in the log comes of it. The apiserver's proxy takes the same way as its calls of webhooks, but
// looks at no certificate, and presents none.
func (g *Gatherer) reach(ctx context.Context, f *Facts) {
	name, port := serviceOf(f)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := g.Client.CoreV1().RESTClient().Post().Namespace(f.Namespace).Resource("services").
		Name(fmt.Sprintf("https:%s:%d", name, port)).SubResource("proxy").Suffix("mutate").
		SetHeader("Content-Type", "application/json").Body(reviewIn(f.Namespace)).DoRaw(ctx)
	if apierrors.IsUnauthorized(err) && strings.HasPrefix(string(answer), webhookAnswers) {
		err, answer = nil, []byte(`"AdmissionReview"`) // it takes calls with a client certificate alone
	}
	f.Reached = Read[bool]{Value: strings.Contains(string(answer), `"AdmissionReview"`), Err: err}
	// What cannot be connected to is not missing, whatever code the proxy has for it.
	if err != nil && !apierrors.IsForbidden(err) {
		f.Reached.Err = errors.New(err.Error())
		var status metav1.Status
		if json.Unmarshal(answer, &status) == nil && status.Message != "" {
			f.Reached.Err = errors.New(status.Message) // what happened; err has only what the code means
		}
	}
}

// webhookAnswers is how the webhook begins what it answers with an HTTP error.
const webhookAnswers = "podinit: "

// reviewIn is the review of a pod without containers, as a dry run.
func reviewIn(namespace string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"podinit-check",`+
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},`+
		`"namespace":%q,"operation":"CREATE","dryRun":true,`+
		`"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"podinit-check"},"spec":{"containers":[]}}}}`, namespace)
}
