package check

import (
	"slices"
	"strings"
)

// Categories, in the order in which they are printed.
const (
	kubernetesCategory   = "kubernetes"
	installationCategory = "installation"
	webhookCategory      = "webhook"
	certificateCategory  = "certificate"
	imageCategory        = "init-image"
	nodeModeCategory     = "node-mode"
	namespacesCategory   = "namespaces"
	admissionCategory    = "admission"
)

// before are the checks of a cluster that podinit is not installed in yet.
var before = []check{
	{kubernetesCategory, "kubernetes-version", "Kubernetes is 1.30 or later", checkVersion},
	{kubernetesCategory, "kubernetes-apis", "the API versions that podinit uses are served", checkAPIs},
	{kubernetesCategory, "linux-nodes", "there are Linux nodes, of architectures that the init is made for", checkNodes},
	{installationCategory, "not-installed", "podinit is not installed yet", checkNotInstalled},
	{installationCategory, "install-rights", "you may create podinit's objects", checkMine},
	{imageCategory, "init-image-registry", "the registry has the init image for every node", checkRegistry},
}

// installationChecks are the checks of a cluster that podinit is installed in. First comes what the others depend on.
var installationChecks = []check{
	{kubernetesCategory, "kubernetes-version", "Kubernetes is 1.30 or later", checkVersion},
	{kubernetesCategory, "kubernetes-apis", "the API versions that podinit uses are served", checkAPIs},
	{kubernetesCategory, "image-volumes", "every node can mount image volumes, where an InitProfile asks for them", checkImageVolumes},

	{installationCategory, "crd", "the CustomResourceDefinition of InitProfiles is established", checkDefinition},
	{installationCategory, "crd-schema", "the CustomResourceDefinition has this version's schema", checkSchema},
	{installationCategory, "webhook-configuration", "the webhook configuration exists, with every entry", checkConfiguration},
	{installationCategory, "webhook-rules", "the webhook configuration's rules match CREATE of pods, and nothing else", checkRules},
	{installationCategory, "webhook-selectors", "the webhook configuration selects the namespaces and pods that opt in", checkSelectors},
	{installationCategory, "webhook-conditions", "the webhook configuration has this version's matchConditions", checkConditions},
	{installationCategory, "webhook-policy", "a webhook that does not answer delays pods only briefly", checkPolicy},
	{installationCategory, "rbac", "podinit's service accounts have the permissions that they need", checkRights},
	{installationCategory, "wrapping-policy", "the policy that requires the init admits wrapped pods", checkPolicyRule},

	{webhookCategory, "deployment", "all replicas of the webhook are ready", checkDeployment},
	{webhookCategory, "replicas", "all replicas of the webhook have the same version", checkReplicas},
	{webhookCategory, "suspended", "podinit is not suspended", checkSuspended},
	{webhookCategory, "registry-config", "the registry configuration can be read", checkRegistryConfig},
	{webhookCategory, "service", "the Service has the port that the webhook configuration names", checkService},
	{webhookCategory, "endpoints", "the Service has ready endpoints", checkEndpoints},
	{webhookCategory, "webhook-reachable", "the apiserver reaches the webhook", checkReached},
	{webhookCategory, "disruption-budget", "a PodDisruptionBudget keeps one replica while nodes are drained", checkBudget},
	{webhookCategory, "critical-pods-quota", "the quota leaves room for critical pods", checkQuota},

	{certificateCategory, "certificate-keeper", "the certificate's issuer runs", checkKeeper},
	{certificateCategory, "certificate", "the certificate exists", checkCertificate},
	{certificateCategory, "certificate-validity", "the certificate is valid, and does not expire soon", checkValidity},
	{certificateCategory, "certificate-names", "the certificate is for the Service's name", checkNames},
	{certificateCategory, "ca-bundle", "the webhook configuration's caBundle is the CA that signed the certificate", checkBundle},

	{imageCategory, "init-image", "the Deployment sets the init image", checkImage},
	{imageCategory, "init-image-registry", "the registry has the init image for every node", checkRegistry},
	{imageCategory, "init-image-nodes", "every node has the init image, or can pull it", checkImageNodes},
	{imageCategory, "init-image-breaker", "podinit's own pods can pull the init image, so new pods are wrapped", checkBreaker},
	{imageCategory, "init-image-pulls", "no pod waits for the init image", checkStuck},

	{nodeModeCategory, "node-plugin", "the container runtime of every node asks podinit-node about new containers", checkPlugin},
	{nodeModeCategory, "node-versions", "podinit-node has the same version on every node", checkPluginVersions},
	{nodeModeCategory, "node-suspended", "podinit-node is not suspended", checkPluginSuspended},
	{nodeModeCategory, "node-containers", "no container that opts in runs without the init", checkMissed},

	{namespacesCategory, "namespaces-labelled", "at least one namespace has opted in", checkLabelled},
	{namespacesCategory, "namespace-labels", "no label or annotation of a namespace is misspelt", checkLabels},
	{namespacesCategory, "namespace-profiles", "the InitProfiles that namespaces name exist", checkProfileNames},

	{admissionCategory, "dry-run-pod", "a new pod is wrapped", checkDryRun},
}

// ofWebhook are the categories of checks that are about the webhook alone.
var ofWebhook = []string{webhookCategory, certificateCategory, imageCategory, admissionCategory}

// nodeOnly says whether node mode is installed and the webhook is not.
func nodeOnly(f *Facts) bool {
	return f.Plugin.Err == nil && f.Plugin.Value != nil && f.Configuration.missing() && f.Deployment.missing()
}

// checksOf are those that concern what is installed: where nodes alone wrap, there is no webhook to look for.
func checksOf(f *Facts) []check {
	if !nodeOnly(f) {
		return installationChecks
	}
	return slices.DeleteFunc(slices.Clone(installationChecks), func(c check) bool {
		return slices.Contains(ofWebhook, c.category) || c.category == installationCategory && !strings.HasPrefix(c.name, "crd")
	})
}

// reinstall is how what is installed is made right again.
func reinstall(f *Facts) string {
	if nodeOnly(f) {
		return reinstallPlugin(f)
	}
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
		return "Install it again: helm -n " + f.Namespace + " upgrade " + release + ", with the same values as before."
	}
	return "Install it again, with your images: make deploy, or kubectl apply --server-side --force-conflicts -k config/default."
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
