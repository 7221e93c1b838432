package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/internal/reason"
)

// listedImages is how many images a node lists at most, unless its kubelet's nodeStatusMaxImages says otherwise.
const listedImages = 50

func checkImage(f *Facts, r *Result) {
	if f.InitImage != "" {
		r.say("%s", f.InitImage)
		return
	}
	if f.Deployment.usable(r, "Deployment") {
		r.fail(reinstall(f), "Deployment %s says neither -init-image nor PODINIT_INIT_IMAGE", f.Deployment.Value.Name)
	}
}

func checkRegistry(f *Facts, r *Result) {
	if f.InitImage == "" {
		r.skip("To check an image before podinit is installed: --init-image", "the init image is not known")
		return
	}
	switch err := f.Platforms.Err; {
	case errors.Is(err, remoteimage.ErrMissing):
		r.fail("Push it, or set another image: INIT_IMAGE of make deploy, PODINIT_INIT_IMAGE of the Deployment.",
			"the registry does not have %s: a new pod that opts in cannot start on a node without this image", f.InitImage)
		return
	case err != nil:
		r.skip("Nodes may reach the registry even if this machine cannot; see the next checks.",
			"asking the registry for %s from here: %v", f.InitImage, err)
		return
	}
	r.say("%s", strings.Join(f.Platforms.Value, ", "))
	if !f.Nodes.usable(r, "nodes") {
		return
	}
	for _, arch := range archs(f.Nodes.Value) {
		if !slices.Contains(f.Platforms.Value, "linux/"+arch) {
			r.fail("Make an index of the images that make images-all builds (docs/known-issues.md), or keep pods that opt in from these nodes.",
				"%s is not made for linux/%s (nodes: %s)", f.InitImage, arch, names(nodesOf(f.Nodes.Value, arch)))
		}
	}
}

// checkImageNodes fails for nodes that lack the image and cannot pull it. It warns where nothing says that they can.
func checkImageNodes(f *Facts, r *Result) {
	if f.InitImage == "" {
		r.skip("", "the init image is not known")
		return
	}
	if !f.Nodes.usable(r, "nodes") {
		return
	}
	var cannot, without, unsure []string
	for _, n := range f.Nodes.Value {
		switch {
		case n.HasImage:
		case errors.Is(f.Platforms.Err, remoteimage.ErrMissing),
			f.Platforms.Err == nil && n.Info.Architecture != "" && !slices.Contains(f.Platforms.Value, "linux/"+n.Info.Architecture):
			cannot = append(cannot, n.Name)
		case n.Listed >= listedImages:
			unsure = append(unsure, n.Name)
		default:
			without = append(without, n.Name)
		}
	}
	r.say("%d of %d nodes have it", len(f.Nodes.Value)-len(cannot)-len(without)-len(unsure), len(f.Nodes.Value))
	if secrets := pulledWith(f); len(secrets) > 0 {
		r.warn("See that a pod that opts in starts in a namespace without these Secrets. Give the nodes the registry's credential, or have it serve the image without one (docs/operating.md).",
			"podinit's own pods pull it with a credential (Secrets: %s), and kubelets keep such an image from pods that do not have the credential", strings.Join(secrets, ", "))
	}
	if len(cannot) > 0 {
		r.fail("See init-image-registry, above.", "these nodes do not have it, and the registry does not have it for them: %s", names(cannot))
	}
	if f.Platforms.Err == nil {
		return // the others can pull it
	}
	hint := "Create a pod that opts in on such a node, and see that it starts."
	if len(without) > 0 {
		r.warn(hint, "these nodes do not have it yet, and this machine cannot ask the registry: %s", names(without))
	}
	if len(unsure) > 0 {
		r.warn(hint, "it is not among the %d images that the node lists, and this machine cannot ask the registry: nodes %s", listedImages,
			names(unsure))
	}
}

// verifiedSince is from where kubelets give an image that was pulled with a Secret to no pod without its credential: KEP-2535, on by default.
var verifiedSince = version.MustParseGeneric("1.35")

// pulledWith are the Secrets with which podinit's own pods pull the init image, where that keeps it from others.
func pulledWith(f *Facts) (names []string) {
	if v, err := version.ParseGeneric(f.Kubernetes.Value); err != nil || v.LessThan(verifiedSince) || f.Deployment.Value == nil {
		return nil
	}
	for _, secret := range f.Deployment.Value.Spec.Template.Spec.ImagePullSecrets {
		names = append(names, secret.Name)
	}
	return names
}

func checkStuck(f *Facts, r *Result) {
	if !f.Stuck.usable(r, "pods in all namespaces") {
		return
	}
	for _, s := range f.Stuck.Value {
		hint := "kubectl -n " + s.Namespace + " describe pod " + s.Pod
		if s.Image == f.InitImage || f.InitImage == "" {
			r.fail(hint, "pod %s/%s on node %s waits for %s: %s", s.Namespace, s.Pod, s.Node, s.Image, lastLine(s.Message))
		} else {
			r.warn("Delete the pod, so that its owner creates it again with the current image: kubectl -n "+s.Namespace+" delete pod "+s.Pod,
				"pod %s/%s on node %s waits for an earlier init image, %s: %s", s.Namespace, s.Pod, s.Node, s.Image, lastLine(s.Message))
		}
	}
}

func checkLabelled(f *Facts, r *Result) {
	if !f.Namespaces.usable(r, "namespaces") {
		return
	}
	all := optedIn(f)
	if len(all) == 0 {
		r.warn("kubectl label namespace NAME "+v1alpha1.Inject+"="+v1alpha1.InjectEnabled,
			"no namespace is labelled %s=%s: only pods that opt in themselves are wrapped", v1alpha1.Inject, v1alpha1.InjectEnabled)
		return
	}
	r.say("%d: %s", len(all), names(all))
}

func checkLabels(f *Facts, r *Result) {
	if !f.Namespaces.usable(r, "namespaces") {
		return
	}
	for _, n := range f.Namespaces.Value {
		label := "kubectl label namespace " + n.Name + " "
		value, labelled := n.Labels[v1alpha1.Inject]
		switch {
		case !labelled:
		case value != v1alpha1.InjectEnabled && !v1alpha1.Disables(value):
			r.warn(label+"--overwrite "+v1alpha1.Inject+"="+v1alpha1.InjectEnabled+" (or "+v1alpha1.InjectDisabled+")",
				"namespace %s is labelled %s=%q, which is not a valid value: its pods are not wrapped", n.Name, v1alpha1.Inject, value)
		case value == v1alpha1.InjectEnabled && excluded(f, n.Name):
			r.warn(label+v1alpha1.Inject+"-", "namespace %s is labelled %s=%s, but podinit never touches it", n.Name, v1alpha1.Inject, value)
		}
		for _, key := range misspelt(n.Labels, v1alpha1.Inject) {
			r.warn(label+key+"- "+v1alpha1.Inject+"="+v1alpha1.InjectEnabled,
				"namespace %s has the label %s, which has no effect; use %s", n.Name, key, v1alpha1.Inject)
		}
		if value, ok := n.Annotations[v1alpha1.Inject]; ok && !labelled {
			r.warn(label+v1alpha1.Inject+"="+value, "namespace %s has the annotation %s; on a namespace it must be a label", n.Name, v1alpha1.Inject)
		}
		if value, ok := n.Labels[v1alpha1.ProfileAnnotation]; ok {
			r.warn("kubectl annotate namespace "+n.Name+" "+v1alpha1.ProfileAnnotation+"="+value,
				"namespace %s has the label %s; it must be an annotation", n.Name, v1alpha1.ProfileAnnotation)
		}
		for _, key := range misspelt(n.Annotations, v1alpha1.ProfileAnnotation, v1alpha1.Inject) {
			r.warn("kubectl annotate namespace "+n.Name+" "+key+"-",
				"namespace %s has the annotation %s, which has no effect; use %s", n.Name, key, v1alpha1.ProfileAnnotation)
		}
	}
}

// misspelt are the keys that look like ours and are not, sorted. Kubernetes' own prefixes are never ours.
func misspelt(keys map[string]string, ours ...string) []string {
	var all []string
	for key := range keys {
		prefix, _, _ := strings.Cut(key, "/")
		if strings.Contains(strings.ReplaceAll(strings.ToLower(prefix), "-", ""), "podinit") && !slices.Contains(ours, key) &&
			key != v1alpha1.ProfileAnnotation {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return all
}

func checkProfileNames(f *Facts, r *Result) {
	if !f.Namespaces.usable(r, "namespaces") {
		return
	}
	var naming []Namespace
	for _, n := range f.Namespaces.Value {
		if n.Annotations[v1alpha1.ProfileAnnotation] != "" {
			naming = append(naming, n)
		}
	}
	if len(naming) == 0 || !f.Profiles.missing() && !f.Profiles.usable(r, "InitProfiles") {
		return
	}
	for _, n := range naming {
		name := n.Annotations[v1alpha1.ProfileAnnotation]
		if !slices.ContainsFunc(f.Profiles.Value, func(p v1alpha1.InitProfile) bool { return p.Name == name }) {
			r.warn("List the InitProfiles: kubectl get initprofiles",
				"namespace %s names InitProfile %s, which does not exist: the defaults apply", n.Name, name)
		}
	}
}

func checkDryRun(f *Facts, r *Result) {
	d := f.DryRun
	elsewhere := "Name another namespace with -n, or use a temporary one: --create-namespace"
	switch {
	case d.Namespace == "" && d.Err != nil:
		r.skip("", "%v", d.Err)
		return
	case d.Namespace == "":
		r.skip("Label a namespace, or use a temporary one: --create-namespace", "no namespace has opted in")
		return
	case apierrors.IsForbidden(d.Err) && strings.Contains(d.Err.Error(), "cannot create resource"):
		r.skip(elsewhere, "forbidden: you may not create pods in namespace %s", d.Namespace)
		return
	case apierrors.IsNotFound(d.Err):
		r.fail(elsewhere, "there is no namespace %s", d.Namespace)
		return
	case refusedByUs(f, d.Err):
		r.fail("The failures above say why. If no check has failed: "+kubectl(f, "logs -l", installation.Selector)+", and the apiserver's log.",
			"no pod can be created in namespace %s: %s", d.Namespace, lastLine(d.Err.Error()))
		return
	case d.Err != nil:
		r.skip(elsewhere, "a pod is refused in namespace %s, which says nothing about podinit: %s", d.Namespace, lastLine(d.Err.Error()))
		return
	}
	if suspended(f) {
		r.skip("", "podinit is suspended")
		return
	}
	wrapped, versions := 0, map[string]bool{}
	for _, a := range d.Answers {
		if a.Wrapped {
			wrapped++
			if a.Status != nil {
				versions[a.Status.Version] = true
			}
		}
	}
	by := strings.Join(slices.Sorted(maps.Keys(versions)), ", ")
	if len(versions) > 1 {
		r.fail(kubectl(f, "rollout status", deploymentOf(f)), "replicas of different versions answer: %s", by)
	}
	if wrapped == len(d.Answers) {
		r.say("in namespace %s, by %s", d.Namespace, by)
		return
	}
	if byNode(f, d.Namespace) {
		r.say("namespace %s leaves its pods to the nodes", d.Namespace)
		return
	}
	for _, a := range d.Answers {
		if a.Wrapped || a.Status == nil {
			continue
		}
		why := a.Status.Reason
		if c, ok := a.Status.Containers["app"]; ok {
			why = c.Reason
		}
		r.fail(reason.Of(why).Remedy, "the pod was not wrapped, because %s", reason.Of(why).Because)
		return
	}
	if label := labelOf(f, d.Namespace); label != v1alpha1.InjectEnabled {
		r.skip(elsewhere, "namespace %s has not opted in (%s is %q)", d.Namespace, v1alpha1.Inject, label)
		return
	}
	r.fail("The failures above say why. If no check has failed: "+kubectl(f, "logs -l", installation.Selector)+", and the apiserver's log.",
		"%d of %s in namespace %s were not wrapped, as if podinit were not installed", len(d.Answers)-wrapped,
		output.Count(len(d.Answers), "pod"), d.Namespace)
}

// refusedByUs says whether the apiserver refuses a pod for want of podinit's answer, as with failurePolicy Fail
// (apiserver, pkg/admission/plugin/webhook/errors).
func refusedByUs(f *Facts, err error) bool {
	return err != nil && slices.ContainsFunc(f.Shipped.Configuration.Webhooks, func(w admissionregistrationv1.MutatingWebhook) bool {
		return strings.Contains(err.Error(), fmt.Sprintf("failed calling webhook %q", w.Name))
	})
}

// labelOf is what a namespace says; what it must say for a dry run is assumed where it may not be read.
func labelOf(f *Facts, namespace string) string {
	for _, n := range f.Namespaces.Value {
		if n.Name == namespace {
			return n.Labels[v1alpha1.Inject]
		}
	}
	return v1alpha1.InjectEnabled
}
