package check

import "strings"

// Categories, in the order in which they are printed.
const (
	kubernetesCategory   = "kubernetes"
	installationCategory = "installation"
	webhookCategory      = "webhook"
	certificateCategory  = "certificate"
	imageCategory        = "init-image"
	namespacesCategory   = "namespaces"
	admissionCategory    = "admission"
)

// before are the checks of a cluster that podinit is not installed in yet.
var before = []check{
	{kubernetesCategory, "kubernetes-version", "Kubernetes is 1.30 or later", checkVersion},
	{kubernetesCategory, "kubernetes-apis", "the API versions that podinit uses are served", checkAPIs},
	{kubernetesCategory, "linux-nodes", "there are Linux nodes, of architectures that the init is made for", checkNodes},
	{installationCategory, "not-installed", "no podinit is installed", checkNotInstalled},
	{installationCategory, "install-rights", "you may create what is installed", checkMine},
	{imageCategory, "init-image-registry", "the registry has the init image for every node", checkRegistry},
}

// installation are the checks of a cluster that podinit is installed in. First comes what the others depend on.
var installation = []check{
	{kubernetesCategory, "kubernetes-version", "Kubernetes is 1.30 or later", checkVersion},
	{kubernetesCategory, "kubernetes-apis", "the API versions that podinit uses are served", checkAPIs},
	{kubernetesCategory, "image-volumes", "every node can mount image volumes, where an InitProfile asks for them", checkImageVolumes},

	{installationCategory, "crd", "the CustomResourceDefinition of InitProfiles is established", checkDefinition},
	{installationCategory, "crd-schema", "its schema is that of this version", checkSchema},
	{installationCategory, "webhook-configuration", "the webhook configuration is there, with every entry", checkConfiguration},
	{installationCategory, "webhook-rules", "it asks for the creation of pods, and for nothing else", checkRules},
	{installationCategory, "webhook-selectors", "it selects the namespaces and pods that opt in", checkSelectors},
	{installationCategory, "webhook-conditions", "its matchConditions are those of this version", checkConditions},
	{installationCategory, "webhook-policy", "a webhook that does not answer keeps nobody waiting for long", checkPolicy},
	{installationCategory, "rbac", "podinit's service accounts may do what they must", checkRights},
	{installationCategory, "wrapping-policy", "the policy that demands the init admits what is wrapped", checkPolicyRule},

	{webhookCategory, "deployment", "the webhook's replicas are all ready", checkDeployment},
	{webhookCategory, "replicas", "they are all of the same version", checkReplicas},
	{webhookCategory, "suspended", "podinit is not suspended", checkSuspended},
	{webhookCategory, "registry-config", "the registry configuration can be read", checkRegistryConfig},
	{webhookCategory, "service", "the Service has the port that the webhook configuration names", checkService},
	{webhookCategory, "endpoints", "the Service has endpoints that are ready", checkEndpoints},
	{webhookCategory, "webhook-reachable", "the apiserver reaches the webhook", checkReached},
	{webhookCategory, "disruption-budget", "a PodDisruptionBudget keeps one replica while nodes are drained", checkBudget},
	{webhookCategory, "critical-pods-quota", "the quota leaves room for critical pods", checkQuota},

	{certificateCategory, "certificate-keeper", "what makes and renews it runs", checkKeeper},
	{certificateCategory, "certificate", "there is a certificate", checkCertificate},
	{certificateCategory, "certificate-validity", "it is valid, and will be for a while", checkValidity},
	{certificateCategory, "certificate-names", "it is for the Service's name", checkNames},
	{certificateCategory, "ca-bundle", "the webhook configuration's caBundle is that of who signed it", checkBundle},

	{imageCategory, "init-image", "the Deployment says which image holds the init", checkImage},
	{imageCategory, "init-image-registry", "the registry has it for every node", checkRegistry},
	{imageCategory, "init-image-nodes", "every node has it, or can pull it", checkImageNodes},
	{imageCategory, "init-image-breaker", "podinit's own pods can pull it, so that others get it", checkBreaker},
	{imageCategory, "init-image-pulls", "no pod waits for it", checkStuck},

	{namespacesCategory, "namespaces-labelled", "some namespace has opted in", checkLabelled},
	{namespacesCategory, "namespace-labels", "no label or annotation of a namespace is misspelt", checkLabels},
	{namespacesCategory, "namespace-profiles", "the InitProfiles that namespaces name exist", checkProfileNames},

	{admissionCategory, "dry-run-pod", "a pod that is created comes back wrapped", checkDryRun},
}

// reinstall is how what is installed is made right again.
func reinstall(f *Facts) string {
	labels := map[string]string{}
	if f.Configuration.Err == nil && f.Configuration.Value != nil {
		labels = f.Configuration.Value.Labels
	} else if f.Deployment.Err == nil && f.Deployment.Value != nil {
		labels = f.Deployment.Value.Labels
	}
	if labels["app.kubernetes.io/managed-by"] == "Helm" {
		release := labels["app.kubernetes.io/instance"]
		if release == "" {
			release = "podinit"
		}
		return "Install it again: helm -n " + f.Namespace + " upgrade " + release + ", with the values of before."
	}
	return "Install it again: make deploy, or kubectl apply --server-side --force-conflicts -k config/default with your images."
}

// kubectl is a command in podinit's namespace.
func kubectl(f *Facts, words ...string) string {
	return "kubectl -n " + f.Namespace + " " + strings.Join(words, " ")
}

// deploymentOf is the webhook's Deployment as kubectl takes it.
func deploymentOf(f *Facts) string {
	if f.Deployment.Err == nil && f.Deployment.Value != nil {
		return "deployment/" + f.Deployment.Value.Name
	}
	return "deployment/" + f.Shipped.Deployment.Name
}
