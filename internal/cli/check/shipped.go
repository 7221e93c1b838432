package check

import (
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podinit/podinit/config"
)

// Shipped is what config/ installs. What a cluster has is compared with it.
type Shipped struct {
	Objects       []unstructured.Unstructured
	Configuration admissionregistrationv1.MutatingWebhookConfiguration
	Definition    apiextensionsv1.CustomResourceDefinition
	// Deployment is the webhook's, Keeper that of what keeps the certificate.
	Deployment, Keeper appsv1.Deployment
	Service            corev1.Service
	Roles              []role
	// Policy is what the component config/policy adds.
	Policy admissionregistrationv1.ValidatingAdmissionPolicy
}

// role is a ClusterRole, or a Role of the namespace.
type role struct {
	name       string
	namespaced bool
	// account that it is bound to.
	account string
	rules   []rbacv1.PolicyRule
}

// pullSecretsRole can be done without (-pull-secrets=false), or be bound namespace by namespace.
const pullSecretsRole = "podinit-webhook-pull-secrets"

// eventsRole can be done without (-events=false).
const eventsRole = "podinit-webhook-events"

// NewShipped reads it. It fails only where this program was built wrongly.
func NewShipped() (Shipped, error) {
	var s Shipped
	var err error
	if s.Objects, err = config.Objects(); err != nil {
		return Shipped{}, err
	}
	policy, err := config.Policy()
	if err != nil {
		return Shipped{}, err
	}
	accounts := map[string]string{} // by kind and name of the role
	for _, object := range slices.Concat(s.Objects, policy) {
		var into any
		var rules rbacv1.ClusterRole          // a Role has the same fields
		var binding rbacv1.ClusterRoleBinding // a RoleBinding has the same fields
		switch object.GetKind() {
		case "MutatingWebhookConfiguration":
			into = &s.Configuration
		case "CustomResourceDefinition":
			into = &s.Definition
		case "Deployment":
			if into = &s.Deployment; object.GetName() == keeperName {
				into = &s.Keeper
			}
		case "ValidatingAdmissionPolicy":
			into = &s.Policy
		case "RoleBinding", "ClusterRoleBinding":
			into = &binding
		case "Service":
			into = &s.Service
		case "Role", "ClusterRole":
			into = &rules
		default:
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
			return Shipped{}, fmt.Errorf("config: %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if rules.Name != "" {
			s.Roles = append(s.Roles, role{name: object.GetKind() + " " + rules.Name, namespaced: object.GetKind() == "Role", rules: rules.Rules})
		}
		if binding.RoleRef.Name != "" && len(binding.Subjects) > 0 {
			accounts[binding.RoleRef.Kind+" "+binding.RoleRef.Name] = binding.Subjects[0].Name
		}
	}
	for i := range s.Roles {
		s.Roles[i].account = accounts[s.Roles[i].name]
	}
	return s, nil
}

// rights are what the roles grant, in a namespace.
func (s Shipped) rights(namespace string) []Right {
	var rights []Right
	for _, role := range s.Roles {
		for _, rule := range role.rules {
			each(rule, func(attributes authorizationv1.ResourceAttributes) {
				if role.namespaced {
					attributes.Namespace = namespace
				}
				rights = append(rights,
					Right{Role: role.name, Account: role.account, Attributes: attributes, Optional: role.name == "ClusterRole "+pullSecretsRole})
			})
		}
	}
	return rights
}

// each calls do for everything that a rule allows.
func each(rule rbacv1.PolicyRule, do func(authorizationv1.ResourceAttributes)) {
	objects := rule.ResourceNames
	if len(objects) == 0 {
		objects = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				for _, name := range objects {
					do(authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: verb, Name: name})
				}
			}
		}
	}
}

// installRights are what it takes to install all of it.
func (s Shipped) installRights(namespace string) []Right {
	var rights []Right
	seen := map[authorizationv1.ResourceAttributes]bool{}
	for _, object := range s.Objects {
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()) // right for all that is shipped
		attributes := authorizationv1.ResourceAttributes{Verb: "create", Group: resource.Group, Resource: resource.Resource}
		if object.GetNamespace() != "" {
			attributes.Namespace = namespace
		}
		if !seen[attributes] {
			seen[attributes] = true
			rights = append(rights, Right{Role: object.GetKind(), Attributes: attributes})
		}
	}
	return rights
}
