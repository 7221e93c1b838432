package check

import (
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/inject"
)

func checkDefinition(f *Facts, r *Result) {
	if f.Definition.missing() {
		r.fail(reinstall(f),
			"CustomResourceDefinition %s is missing: InitProfiles cannot be created, and do not apply", f.Shipped.Definition.Name)
		return
	}
	if !f.Definition.usable(r, "CustomResourceDefinition "+f.Shipped.Definition.Name) {
		return
	}
	d := f.Definition.Value
	describe := "See why: kubectl describe crd " + d.Name
	established := slices.IndexFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
	if established < 0 {
		r.fail(describe, "%s is not established", d.Name)
	}
	served := func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.GroupVersion.Version && v.Served
	}
	if !slices.ContainsFunc(d.Spec.Versions, served) {
		r.fail(reinstall(f), "%s does not serve %s", d.Name, v1alpha1.GroupVersion.Version)
	}
	if d.DeletionTimestamp != nil {
		r.fail(describe, "%s is being deleted", d.Name)
	}
}

func checkSchema(f *Facts, r *Result) {
	if !f.Definition.usable(r, "CustomResourceDefinition "+f.Shipped.Definition.Name) {
		return
	}
	schema := func(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceValidation {
		for _, v := range d.Spec.Versions {
			if v.Name == v1alpha1.GroupVersion.Version {
				return v.Schema
			}
		}
		return nil
	}
	if !reflect.DeepEqual(schema(f.Definition.Value), schema(&f.Shipped.Definition)) {
		r.warn("If podinit was upgraded: Helm leaves CustomResourceDefinitions as they are. kubectl apply --server-side --force-conflicts -f "+
			"config/crd/podinit.dev_initprofiles.yaml",
			"it has another version than this program; its new fields have no effect")
	}
}

// entryOf is the entry of that name in the cluster; nil if it is missing.
func entryOf(f *Facts, name string) *admissionregistrationv1.MutatingWebhook {
	for i, w := range f.Configuration.Value.Webhooks {
		if w.Name == name {
			return &f.Configuration.Value.Webhooks[i]
		}
	}
	return nil
}

// entries calls do for each entry that is shipped and there.
func entries(f *Facts, r *Result, do func(shipped, there *admissionregistrationv1.MutatingWebhook)) {
	if !f.Configuration.usable(r, "webhook configuration") {
		return
	}
	for i, shipped := range f.Shipped.Configuration.Webhooks {
		if there := entryOf(f, shipped.Name); there != nil {
			do(&f.Shipped.Configuration.Webhooks[i], there)
		}
	}
}

func checkConfiguration(f *Facts, r *Result) {
	if f.Configuration.missing() {
		r.fail(reinstall(f), "MutatingWebhookConfiguration %s is missing: the apiserver sends no pod to podinit", f.Shipped.Configuration.Name)
		return
	}
	if !f.Configuration.usable(r, "MutatingWebhookConfiguration "+f.Shipped.Configuration.Name) {
		return
	}
	for _, shipped := range f.Shipped.Configuration.Webhooks {
		there := entryOf(f, shipped.Name)
		switch {
		case there == nil:
			r.fail(reinstall(f), "webhook %s is missing in it", shipped.Name)
		case there.ClientConfig.Service == nil:
			r.warn(reinstall(f), "webhook %s is called at a URL, not at podinit's Service", shipped.Name)
		case there.ClientConfig.Service.Path == nil || *there.ClientConfig.Service.Path != *shipped.ClientConfig.Service.Path:
			r.fail(reinstall(f), "webhook %s is called at another path than %s", shipped.Name, *shipped.ClientConfig.Service.Path)
		}
	}
}

func checkRules(f *Facts, r *Result) {
	entries(f, r, func(shipped, there *admissionregistrationv1.MutatingWebhook) {
		if !slices.ContainsFunc(there.Rules, asksForPods) {
			r.fail(reinstall(f), "webhook %s has no rule for CREATE of pods: it is never called", there.Name)
		} else if !reflect.DeepEqual(there.Rules, shipped.Rules) {
			r.warn(reinstall(f), "webhook %s has other rules than podinit ships; podinit handles only CREATE of pods", there.Name)
		}
	})
}

func asksForPods(rule admissionregistrationv1.RuleWithOperations) bool {
	has := func(all []string, one string) bool { return slices.Contains(all, one) || slices.Contains(all, "*") }
	operations := make([]string, len(rule.Operations))
	for i, o := range rule.Operations {
		operations[i] = string(o)
	}
	return has(operations, "CREATE") && has(rule.APIGroups, "") && has(rule.APIVersions, "v1") && has(rule.Resources, "pods") &&
		(rule.Scope == nil || *rule.Scope != admissionregistrationv1.ClusterScope)
}

// excluded says whether no entry is ever called for pods of a namespace, by the namespace's name.
func excluded(f *Facts, namespace string) bool {
	plugin := f.Plugin.Err == nil && f.Plugin.Value != nil && f.Plugin.Value.Namespace == namespace
	return namespace == f.Namespace || plugin || slices.Contains(inject.SystemNamespaces, namespace)
}

// sample is a namespace or a pod as a selector sees it, and what to call it.
type sample struct {
	what   string
	labels labels.Set
}

// checkSelectors asks the selectors for samples, not whether they are the same: platforms and values add namespaces
// that are excluded.
func checkSelectors(f *Facts, r *Result) {
	labelled := func(value string, more labels.Set) labels.Set {
		set := labels.Merge(labels.Set{}, more)
		if value != "" {
			set[v1alpha1.Inject] = value
		}
		return set
	}
	var namespaces, pods []sample
	for _, value := range []string{v1alpha1.InjectEnabled, v1alpha1.InjectDisabled, ""} {
		said := "that are labelled " + v1alpha1.Inject + "=" + value
		if value == "" {
			said = "without the label " + v1alpha1.Inject
		}
		namespaces = append(namespaces, sample{"namespaces " + said, labelled(value, labels.Set{corev1.LabelMetadataName: "podinit-sample"})})
		pods = append(pods, sample{"pods " + said, labelled(value, nil)})
	}
	for _, name := range append(slices.Clone(inject.SystemNamespaces), f.Namespace) {
		namespaces = append(namespaces, sample{"namespace " + name, labelled(v1alpha1.InjectEnabled, labels.Set{corev1.LabelMetadataName: name})})
	}
	entries(f, r, func(shipped, there *admissionregistrationv1.MutatingWebhook) {
		compare(f, r, there.Name+": namespaceSelector", shipped.NamespaceSelector, there.NamespaceSelector, namespaces)
		compare(f, r, there.Name+": objectSelector", shipped.ObjectSelector, there.ObjectSelector, pods)
	})
	if r.Status == Passed && f.Namespaces.usable(r, "namespaces") {
		checkLeftOut(f, r)
	}
}

// compare says for which samples a selector decides otherwise than the one that is shipped.
func compare(f *Facts, r *Result, what string, shipped, there *metav1.LabelSelector, samples []sample) {
	want, err := metav1.LabelSelectorAsSelector(shipped)
	if err != nil {
		r.skip("", "%s as shipped: %v", what, err)
		return
	}
	have, err := metav1.LabelSelectorAsSelector(there)
	if err != nil {
		r.fail(reinstall(f), "%s: %v", what, err)
		return
	}
	var lost, added []string
	for _, s := range samples {
		wanted := want.Matches(s.labels)
		if s.labels[corev1.LabelMetadataName] == f.Namespace {
			wanted = false // the selector that is shipped knows only the namespace that it is shipped for
		}
		switch had := have.Matches(s.labels); {
		case wanted && !had:
			lost = append(lost, s.what)
		case had && !wanted:
			added = append(added, s.what)
		}
	}
	shown := have.String()
	if shown == "" {
		shown = "everything"
	}
	if len(lost) > 0 {
		r.fail(reinstall(f), "%s does not select %s; it selects %s", what, strings.Join(lost, ", "), shown)
	}
	if len(added) > 0 {
		r.fail(reinstall(f), "%s selects %s, too; it selects %s", what, strings.Join(added, ", "), shown)
	}
}

// checkLeftOut looks for namespaces that have opted in, but that no entry selects.
func checkLeftOut(f *Facts, r *Result) {
	var left []string
	for _, n := range f.Namespaces.Value {
		if n.Labels[v1alpha1.Inject] != v1alpha1.InjectEnabled || excluded(f, n.Name) {
			continue
		}
		selected := false
		entries(f, r, func(_, there *admissionregistrationv1.MutatingWebhook) {
			selector, err := metav1.LabelSelectorAsSelector(there.NamespaceSelector)
			selected = selected || err == nil && selector.Matches(labels.Set(n.Labels))
		})
		if !selected {
			left = append(left, n.Name)
		}
	}
	if len(left) > 0 {
		r.warn("Remove the label from these namespaces, or these namespaces from the exclusions.",
			"opted in, but excluded by the webhook configuration: namespaces %s", names(left))
	}
}

func checkConditions(f *Facts, r *Result) {
	entries(f, r, func(shipped, there *admissionregistrationv1.MutatingWebhook) {
		expressions := map[string]string{}
		for _, c := range there.MatchConditions {
			expressions[c.Name] = strings.Join(strings.Fields(c.Expression), " ")
		}
		for _, c := range shipped.MatchConditions {
			switch have, ok := expressions[c.Name]; {
			case !ok:
				r.fail(reinstall(f), "webhook %s lacks matchCondition %s: it is called for pods that have not opted in", there.Name, c.Name)
			case have != strings.Join(strings.Fields(c.Expression), " "):
				r.fail(reinstall(f), "webhook %s has another matchCondition %s: %s", there.Name, c.Name, have)
			}
			delete(expressions, c.Name)
		}
		var more []string
		for name := range expressions {
			more = append(more, name)
		}
		slices.Sort(more)
		for _, name := range more {
			r.warn("If you have added it yourself, nothing is wrong.", "webhook %s has a matchCondition that is not shipped: %s", there.Name, name)
		}
	})
}

// longTimeout is more seconds than the creation of a pod should wait for a webhook that is dead.
const longTimeout = 10

func checkPolicy(f *Facts, r *Result) {
	var said []string
	entries(f, r, func(shipped, there *admissionregistrationv1.MutatingWebhook) {
		if p := there.FailurePolicy; p != nil {
			said = append(said, string(*p))
		}
		if t := there.TimeoutSeconds; t != nil && *t > longTimeout {
			r.warn(reinstall(f), "webhook %s has timeoutSeconds %d: every pod waits for so long while the webhook is not available", there.Name, *t)
		}
		if p := there.FailurePolicy; p != nil && *p == admissionregistrationv1.Fail && f.Deployment.Err == nil &&
			replicasOf(f.Deployment.Value) < 2 {
			r.warn(kubectl(f, "scale deployment", f.Deployment.Value.Name, "--replicas=2"),
				"webhook %s has failurePolicy Fail, and there is one replica: while it restarts, no pod that opted in can be created", there.Name)
		}
		if s := there.SideEffects; s != nil && *s != admissionregistrationv1.SideEffectClassNone &&
			*s != admissionregistrationv1.SideEffectClassNoneOnDryRun {
			r.fail(reinstall(f), "webhook %s has sideEffects %s: dry runs of pods are refused", there.Name, *s)
		}
		if reinvoked(shipped) && !reinvoked(there) {
			r.warn(reinstall(f),
				"webhook %s is not called again (reinvocationPolicy is not IfNeeded): containers that later webhooks add are not wrapped", there.Name)
		}
	})
	slices.Sort(said)
	if said = slices.Compact(said); len(said) > 0 {
		r.say("failurePolicy %s", strings.Join(said, " and "))
	}
}

func reinvoked(w *admissionregistrationv1.MutatingWebhook) bool {
	return w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
}

// needed says whether a right is needed, as the webhook is configured. With -events=false it writes no Event outside of its
// namespace, without lookups or pull secrets it reads no Secret, and with a certificate that is made elsewhere neither that
// one nor its webhook configuration, and podinit-certificates does not exist.
func needed(d *appsv1.Deployment, right Right) bool {
	switch {
	case right.Account == keeperName:
		return installation.Flag(d, certificateDirectory) == ""
	case right.Role == "ClusterRole "+eventsRole:
		return installation.Flag(d, "events") != "false"
	case right.Optional:
		return installation.Flag(d, "pull-secrets") != "false" && installation.Flag(d, "lookups") != "false"
	case right.Attributes.Resource == "secrets", right.Attributes.Resource == "mutatingwebhookconfigurations":
		return installation.Flag(d, certificateDirectory) == ""
	}
	return true
}

func checkRights(f *Facts, r *Result) {
	for _, right := range f.Rights {
		if f.Deployment.Err == nil && !needed(f.Deployment.Value, right) {
			continue
		}
		switch {
		case right.Allowed.Err != nil:
			right.Allowed.usable(r, "the permissions of service accounts (create subjectaccessreviews)")
			return
		case right.Allowed.Value:
		case right.Optional && !f.Unread.usable(r, "the permissions of service accounts (create subjectaccessreviews)"):
			return
		case right.Optional:
			r.say("%s may not %s in every namespace", right.Account, right)
			if len(f.Unread.Value) > 0 {
				r.warn("If they need none, nothing is wrong. Else bind "+right.Role+
					" there, with a RoleBinding or the chart's lookups.pullSecretNamespaces.",
					"%s may not %s in namespaces that have opted in: %s. Their private images cannot be looked up", right.Account, right,
					names(f.Unread.Value))
			}
		default:
			r.fail(reinstall(f), "%s may not %s (%s)", right.Account, right, right.Role)
		}
	}
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
