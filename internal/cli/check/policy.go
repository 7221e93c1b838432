package check

import (
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/podinit/podinit/internal/cli/remoteimage"
)

// repositoryVariable is the policy's variable that names the repository of the init's image.
const repositoryVariable = "initRepository"

// changeable are the policy's variables that are meant to be changed.
var changeable = []string{repositoryVariable, "exempt", "sidecars", "initContainers"}

// checkPolicyRule looks at the policy that demands the init, where it is installed: whether it demands the init that pods
// are given, whether it is that of this version, and whether a binding names it.
func checkPolicyRule(f *Facts, r *Result) {
	if f.Policy.missing() {
		r.say("there is none")
		return
	}
	if !f.Policy.usable(r, "ValidatingAdmissionPolicy "+f.Shipped.Policy.Name) {
		return
	}
	p := f.Policy.Value
	for _, v := range p.Spec.Variables {
		if v.Name != repositoryVariable || f.InitImage == "" {
			continue
		}
		if repository, want := strings.Trim(strings.TrimSpace(v.Expression), `'"`), remoteimage.Repository(f.InitImage); repository != want {
			r.fail("Set the policy's variable "+repositoryVariable+" to '"+want+"': kubectl edit validatingadmissionpolicy "+p.Name,
				"ValidatingAdmissionPolicy %s requires the init of image %s, and the webhook gives pods that of image %s: the policy refuses every "+
					"wrapped pod", p.Name, repository, want)
		}
	}
	if !reflect.DeepEqual(demands(p), demands(&f.Shipped.Policy)) {
		r.warn(reinstall(f)+" Its policy is the component config/policy, or the chart's wrappingPolicy.",
			"ValidatingAdmissionPolicy %s has another version than this program, or was changed", p.Name)
	}
	if !f.Bindings.usable(r, "ValidatingAdmissionPolicyBindings") {
		return
	}
	denies := func(b admissionregistrationv1.ValidatingAdmissionPolicyBinding) bool {
		return slices.Contains(b.Spec.ValidationActions, admissionregistrationv1.Deny)
	}
	switch {
	case len(f.Bindings.Value) == 0:
		r.warn(reinstall(f), "no ValidatingAdmissionPolicyBinding names ValidatingAdmissionPolicy %s: the policy has no effect", p.Name)
	case !slices.ContainsFunc(f.Bindings.Value, denies):
		r.say("it refuses nothing, and only warns or audits")
	}
}

// demands is what of a policy is not meant to be changed, written without regard to spaces.
func demands(p *admissionregistrationv1.ValidatingAdmissionPolicy) (all []string) {
	flat := func(expression string) string { return strings.Join(strings.Fields(expression), " ") }
	for _, c := range p.Spec.MatchConditions {
		all = append(all, c.Name+": "+flat(c.Expression))
	}
	for _, v := range p.Spec.Variables {
		if !slices.Contains(changeable, v.Name) {
			all = append(all, v.Name+": "+flat(v.Expression))
		}
	}
	for _, v := range p.Spec.Validations {
		all = append(all, flat(v.Expression))
	}
	if c := p.Spec.MatchConstraints; c != nil {
		for _, rule := range c.ResourceRules {
			all = append(all, strings.Join(rule.Resources, ",")+" "+strings.Join(asStrings(rule.Operations), ","))
		}
	}
	if policy := p.Spec.FailurePolicy; policy != nil {
		all = append(all, string(*policy))
	}
	return all
}

func asStrings[S ~string](all []S) []string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return texts
}
