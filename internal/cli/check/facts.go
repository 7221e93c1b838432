package check

import (
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/nodes"
)

// Facts are what is known about a cluster. The checks look at nothing else.
type Facts struct {
	// Now is when they were gathered.
	Now time.Time
	// Shipped is what this version of podinit installs.
	Shipped Shipped
	// Namespace that podinit is installed in, or would be.
	Namespace string

	// Kubernetes is the apiserver's version, such as v1.36.3.
	Kubernetes Read[string]
	// APIs are the group versions that the apiserver serves.
	APIs Read[[]string]
	// Nodes that run Linux.
	Nodes Read[[]Node]
	// Namespaces of the cluster.
	Namespaces Read[[]Namespace]

	Definition    Read[*apiextensionsv1.CustomResourceDefinition]
	Profiles      Read[[]v1alpha1.InitProfile]
	Configuration Read[*admissionregistrationv1.MutatingWebhookConfiguration]
	Deployment    Read[*appsv1.Deployment]
	// Pods of the Deployment's selector: its own, and others that the Service takes for them.
	Pods Read[[]corev1.Pod]
	// Keeper is the Deployment that keeps the certificate, and KeeperPods are its pods.
	Keeper     Read[*appsv1.Deployment]
	KeeperPods Read[[]corev1.Pod]
	Service    Read[*corev1.Service]
	Endpoints  Read[[]discoveryv1.EndpointSlice]
	// Certificate is the chain that the webhook serves, in PEM, as its Secret has it.
	Certificate Read[[]byte]
	// RegistryConfig is the webhook's registry configuration; its ConfigMap is not found where it has none.
	RegistryConfig Read[string]
	Quotas         Read[[]corev1.ResourceQuota]
	Budgets        Read[[]policyv1.PodDisruptionBudget]
	// Rights of podinit's service accounts, one for each that is shipped.
	Rights []Right
	// Unread are namespaces that have opted in, at most maxAsked, whose pull secrets the webhook may not read. It is asked
	// where it may not read those of all.
	Unread Read[[]string]
	// Suspend is the ConfigMap that suspends podinit; not found where it is not suspended so.
	Suspend Read[*corev1.ConfigMap]
	// Policy demands that pods are wrapped; not found where it is not installed. Bindings are its bindings.
	Policy   Read[*admissionregistrationv1.ValidatingAdmissionPolicy]
	Bindings Read[[]admissionregistrationv1.ValidatingAdmissionPolicyBinding]
	// Plugin is the DaemonSet of node mode; not found where node mode is not installed. OnNodes are the nodes on which it is to
	// run, each asked for its report, and PluginSuspend is the ConfigMap that suspends it.
	Plugin        Read[*appsv1.DaemonSet]
	OnNodes       Read[[]nodes.Node]
	PluginSuspend Read[*corev1.ConfigMap]
	// Reached is what the webhook answers through the apiserver's proxy of its Service: whether it is one of its own.
	Reached Read[bool]

	// InitImage is the reference that pods are given; empty if nothing says it.
	InitImage string
	// Platforms that the registry has InitImage for.
	Platforms Read[[]string]
	// Canaries are pods of podinit's own that need the init image of the replicas that serve.
	Canaries Read[[]canary.Canary]
	// Stuck are pods whose node cannot pull InitImage, at most maxNames.
	Stuck Read[[]Stuck]

	// DryRun are the pods that the apiserver was asked to admit, without making them.
	DryRun DryRun
	// Mine are the rights of the command's user that an installation takes.
	Mine []Right
}

// Read is something that was read from the cluster, or why it could not be.
type Read[T any] struct {
	Value T
	Err   error
}

// readOf takes what a client returns.
func readOf[T any](value T, err error) Read[T] { return Read[T]{Value: value, Err: err} }

// missing says whether it is not there.
func (r Read[T]) missing() bool { return apierrors.IsNotFound(r.Err) }

// usable says whether the value is there. If not, the check is not made, and the result says why; unless it is just
// missing, which another check is for.
func (r Read[T]) usable(result *Result, what string) bool {
	switch {
	case r.Err == nil:
		return true
	case r.missing():
		result.skip("", "there is no %s", what)
	case apierrors.IsForbidden(r.Err):
		result.skip("Use an account that may read it, or ask an administrator for the permission.", "forbidden: you may not read %s", what)
	default:
		result.skip("", "reading %s: %v", what, r.Err)
	}
	return false
}

// Node is one that runs Linux.
type Node struct {
	Name string
	Info corev1.NodeSystemInfo
	// HasImage says that the node lists the init image, Listed how many images it lists.
	HasImage bool
	Listed   int
	// NodeMode is set where podinit-node is to run on it.
	NodeMode bool
}

// Namespace is its name, and what podinit looks at.
type Namespace struct {
	Name                string
	Labels, Annotations map[string]string
}

// Right is something that an account must be allowed to do.
type Right struct {
	// Role that grants it, as it is shipped, and the service account that has it.
	Role, Account string
	Attributes    authorizationv1.ResourceAttributes
	// Optional is set where podinit does without it.
	Optional bool
	// Granted is set where users must have it to grant it: Kubernetes lets no user grant rights that the user does not have.
	Granted bool
	Allowed Read[bool]
}

// String is the right as kubectl auth can-i takes it.
func (r Right) String() string {
	a := r.Attributes
	s := a.Verb + " " + a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	if a.Name != "" {
		s += "/" + a.Name
	}
	if a.Namespace != "" {
		s += " -n " + a.Namespace
	}
	return s
}

// Stuck is a container that waits for an image.
type Stuck struct {
	Namespace, Pod, Node, Image string
	// Message of the kubelet.
	Message string
}

// DryRun is what came back of a pod that the apiserver was asked to admit several times, without making it.
type DryRun struct {
	// Namespace it was for; empty if there is none that opted in.
	Namespace string
	// Err is why it could not be tried.
	Err error
	// Answers, one for each time.
	Answers []DryRunAnswer
}

// DryRunAnswer is one pod as the apiserver would have made it.
type DryRunAnswer struct {
	Wrapped  bool
	Status   *v1alpha1.Status
	Warnings []string
}

// maxAsked bounds for how many namespaces a right is asked about.
const maxAsked = 50

// maxNames bounds how many things of a kind a problem names.
const maxNames = 5

// names joins the first few.
func names(all []string) string {
	if len(all) > maxNames {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxNames], ", "), len(all)-maxNames)
	}
	return strings.Join(all, ", ")
}
