package check

import (
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/installation"
)

// suspended says whether podinit is known to be suspended.
func suspended(f *Facts) bool {
	return f.Suspend.Err == nil && f.Suspend.Value != nil ||
		f.Deployment.Err == nil && installation.Enabled(f.Deployment.Value, v1alpha1.SuspendFlag)
}

// checkSuspended warns, since an administrator has suspended podinit; it fails where pods are refused for it.
func checkSuspended(f *Facts, r *Result) {
	if !f.Suspend.missing() && f.Suspend.usable(r, "ConfigMap "+v1alpha1.SuspendConfigMap+" in namespace "+f.Namespace) &&
		f.Suspend.Value != nil {
		why := ""
		if text := strings.TrimSpace(f.Suspend.Value.Data[v1alpha1.SuspendReasonKey]); text != "" {
			why = ": " + lastLine(text)
		}
		r.warn("To resume: "+kubectl(f, "delete configmap", v1alpha1.SuspendConfigMap),
			"new pods are admitted unchanged, since ConfigMap %s was created at %s%s",
			v1alpha1.SuspendConfigMap, f.Suspend.Value.CreationTimestamp.UTC().Format(time.RFC3339), why)
	}
	if f.Deployment.usable(r, "Deployment") && installation.Enabled(f.Deployment.Value, v1alpha1.SuspendFlag) {
		r.warn("To resume: suspend: false of the chart, or leave out the component config/suspend.",
			"new pods are admitted unchanged, since Deployment %s has flag -%s", f.Deployment.Value.Name, v1alpha1.SuspendFlag)
	}
	if !suspended(f) {
		return
	}
	for _, b := range f.Bindings.Value {
		if slices.Contains(b.Spec.ValidationActions, admissionregistrationv1.Deny) {
			r.fail("kubectl patch validatingadmissionpolicybinding "+b.Name+` --type=merge -p '{"spec":{"validationActions":["Audit"]}}'`,
				"while podinit is suspended, ValidatingAdmissionPolicyBinding %s refuses new pods, since they have no init", b.Name)
		}
	}
}
