package brokeninstalls

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/pki"
	"github.com/podinit/podinit/test/suite"
)

const serviceName = deployment + "." + system + ".svc"

// afterwards are the checks that may fail besides, and at once or not: the apiserver keeps connections to the webhook
// for a while, and with them what it has found out about the other end.
var afterwards = []string{"dry-run-pod", "webhook-reachable"}

// TestBroken breaks the installation in one way after the other. Each time podinit check names the cause, and nothing
// that has nothing to do with it; and when it is undone, nothing is found.
func TestBroken(t *testing.T) {
	healthy(t)
	for _, test := range []struct {
		name  string
		wreck func(*testing.T)
		// undo is install without it.
		undo func(*testing.T)
		// want is what is found, by check.
		want map[string]string
		// also are checks that may find something besides.
		also []string
	}{
		{
			name:  "expired certificate",
			wreck: func(t *testing.T) { plant(t, authority(t), time.Now().Add(-time.Hour), serviceName) },
			undo:  newSecret, want: map[string]string{"certificate-validity": "the certificate expired on"},
		}, {
			name:  "certificate for another name",
			wreck: func(t *testing.T) { plant(t, authority(t), time.Now().AddDate(1, 0, 0), "podinit.example") },
			undo:  newSecret, want: map[string]string{"certificate-names": "the apiserver asks for " + serviceName + "; the certificate is for podinit.example"},
		}, {
			name:  "certificate by another authority",
			wreck: func(t *testing.T) { plant(t, pki.NewAuthority("somebody"), time.Now().AddDate(1, 0, 0), serviceName) },
			undo:  newSecret, want: map[string]string{"ca-bundle": "does not match the certificate in the Secret"},
		}, {
			// It would be put right at once, if that might be.
			name: "wrong caBundle",
			wreck: func(t *testing.T) {
				takeAway(t, keeper, "mutatingwebhookconfigurations", "update")
				other := pki.NewAuthority("somebody")
				patch(t, "mutatingwebhookconfiguration", "zz-podinit", "json", mustJSON(t, []any{
					map[string]any{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": other.PEM()},
				}))
			},
			undo: func(t *testing.T) {
				install(t)
				patch(t, "mutatingwebhookconfiguration", "zz-podinit", "json", `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
			},
			want: map[string]string{"ca-bundle": "the caBundle of webhook namespace.podinit.dev does not match", "rbac": "podinit-certificates may not update mutatingwebhookconfigurations.admissionregistration.k8s.io/zz-podinit"},
		}, {
			name: "no endpoints",
			wreck: func(t *testing.T) {
				patch(t, "service", deployment, "merge", `{"spec":{"selector":{"app.kubernetes.io/component":"nobody"}}}`)
			},
			want: map[string]string{"endpoints": "has no endpoints: its selector app.kubernetes.io/component=nobody"},
		}, {
			name: "another port of the Service",
			wreck: func(t *testing.T) {
				patch(t, "service", deployment, "json", `[{"op":"replace","path":"/spec/ports/0/port","value":444}]`)
			},
			undo: func(t *testing.T) {
				patch(t, "service", deployment, "json", `[{"op":"replace","path":"/spec/ports/0/port","value":443}]`)
			},
			want: map[string]string{"service": "the webhook configuration names port 443; Service podinit-webhook has 444"},
		}, {
			name: "another target port",
			wreck: func(t *testing.T) {
				patch(t, "service", deployment, "json", `[{"op":"replace","path":"/spec/ports/0/targetPort","value":8443}]`)
			},
			want: map[string]string{"service": "targetPort 8443 leads to 8443; the webhook listens on 10250", "webhook-reachable": "connection refused"},
		}, {
			name: "wrong namespaceSelector",
			wreck: func(t *testing.T) {
				patch(t, "mutatingwebhookconfiguration", "zz-podinit", "json", `[{"op":"replace","path":"/webhooks/0/namespaceSelector/matchExpressions/0/values","value":["on"]}]`)
			},
			want: map[string]string{"webhook-selectors": "namespaceSelector does not select namespaces that are labelled podinit.dev/inject=enabled"},
		}, {
			name:  "no webhook configuration",
			wreck: func(t *testing.T) { kubectl(t, "delete", "mutatingwebhookconfiguration", "zz-podinit") },
			want:  map[string]string{"webhook-configuration": "MutatingWebhookConfiguration zz-podinit is missing", "dry-run-pod": "not wrapped"},
		}, {
			name:  "no CustomResourceDefinition",
			wreck: func(t *testing.T) { kubectl(t, "delete", "crd", "initprofiles.podinit.dev") },
			want:  map[string]string{"crd": "CustomResourceDefinition initprofiles.podinit.dev is missing"},
		}, {
			name:  "a rule less",
			wreck: func(t *testing.T) { takeAway(t, deployment, "initprofiles", "watch") },
			want:  map[string]string{"rbac": "podinit-webhook may not watch initprofiles.podinit.dev (ClusterRole podinit-webhook)"},
		}, {
			name:  "no keeper of the certificate",
			wreck: func(t *testing.T) { kubectl(t, "-n", system, "delete", "deployment", keeper) },
			want:  map[string]string{"certificate-keeper": "no Deployment in namespace podinit-system is labelled app.kubernetes.io/name=podinit,app.kubernetes.io/component=certificates"},
		}, {
			name: "a keeper of the certificate that does not start",
			wreck: func(t *testing.T) {
				patch(t, "deployment", keeper, "json", `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["-certificates","-no-such-flag"]}]`)
			},
			want: map[string]string{"certificate-keeper": "ended with exit code 1"},
		}, {
			name: "a policy for another init",
			wreck: func(t *testing.T) {
				kubectl(t, "apply", "--server-side", "-f", "../../config/policy/validating_admission_policy.yaml")
			},
			undo: func(t *testing.T) {
				kubectl(t, "delete", "-f", "../../config/policy/validating_admission_policy.yaml")
			},
			want: map[string]string{"wrapping-policy": "requires the init of image ghcr.io/podinit/init, and the webhook gives pods that of image "},
		}, {
			name:  "pull secrets of no namespace",
			wreck: func(t *testing.T) { kubectl(t, "delete", "clusterrolebinding", "podinit-webhook-pull-secrets") },
			want:  map[string]string{"rbac": "podinit-webhook may not get secrets in namespaces that have opted in: "},
		}, {
			name: "a namespace's label",
			wreck: func(t *testing.T) {
				kubectl(t, "create", "namespace", "check-typo")
				kubectl(t, "label", "namespace", "check-typo", "podinit.dev/inject=enable")
			},
			undo: func(t *testing.T) { kubectl(t, "delete", "namespace", "check-typo") },
			want: map[string]string{"namespace-labels": `namespace check-typo is labelled podinit.dev/inject="enable", which is not a valid value`},
		}, {
			name:  "a replica of another version",
			wreck: anotherReplica,
			undo: func(t *testing.T) {
				kubectl(t, "-n", system, "delete", "pod", "check-other", "--grace-period=0", "--force")
			},
			want: map[string]string{"replicas": "replicas run different images"},
		}, {
			name: "a configuration file that cannot be read",
			wreck: func(t *testing.T) {
				patch(t, "configmap", "podinit-registries", "merge", `{"data":{"registries.yaml":"registry: []"}}`)
				kubectl(t, "-n", system, "rollout", "restart", "deployment", deployment)
			},
			undo: func(t *testing.T) {
				install(t)
				kubectl(t, "-n", system, "rollout", "undo", "deployment", deployment)
			},
			want: map[string]string{"registry-config": `unknown field "registry"`, "deployment": "ended with exit code 1"},
		}, {
			name: "an init image that is not there",
			wreck: func(t *testing.T) {
				kubectl(t, "-n", system, "set", "env", "deployment", deployment, "PODINIT_INIT_IMAGE="+cluster.Registry+"/podinit/init:nosuch")
			},
			want: map[string]string{
				"init-image-registry": "the registry does not have " + cluster.Registry + "/podinit/init:nosuch",
				"init-image-nodes":    "the registry does not have it",
				"deployment":          "must be the same",
			},
		}, {
			name:  "scaled to 0",
			wreck: func(t *testing.T) { kubectl(t, "-n", system, "scale", "deployment", deployment, "--replicas=0") },
			want:  map[string]string{"deployment": "Deployment podinit-webhook is scaled to 0", "endpoints": "has no endpoint"},
		},
	} {
		ok := t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			undo := test.undo
			if undo == nil {
				undo = install
			}
			defer func() {
				undo(t)
				healthy(t)
				t.Logf("%.1f s", time.Since(began).Seconds())
			}()
			test.wreck(t)
			var found map[string]string
			defer func() {
				if t.Failed() {
					t.Logf("found: %q", found)
				}
			}()
			eventually(t, "podinit check to name the cause", func() bool {
				report, _ := look(t)
				found = problems(report)
				for check, want := range test.want {
					if !strings.Contains(found[check], want) {
						return false
					}
				}
				return true
			})
			for check, text := range found {
				if test.want[check] == "" && !slices.Contains(slices.Concat(test.also, afterwards), check) {
					t.Errorf("%s finds something, too: %s", check, text)
				}
			}
			t.Logf("%.1f s: found by %s", time.Since(began).Seconds(), strings.Join(slices.Sorted(maps.Keys(found)), ", "))
		})
		if !ok {
			break // what is broken may not be mended
		}
	}
}

// TestHealthy: nothing is found, nothing is left unchecked, and a temporary namespace is gone afterwards.
func TestHealthy(t *testing.T) {
	healthy(t)
	report, _ := look(t)
	if report.NotChecked > 0 || report.Warnings > 0 || report.Failed > 0 {
		t.Errorf("of an installation in order: %+v", report)
	}
	out, errOut, code := suite.Podinit("check", "--create-namespace")
	if code != exit.OK || !strings.Contains(out, "✓ a new pod is wrapped (in namespace podinit-check-") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	left, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range left.Items {
		if strings.HasPrefix(n.Name, "podinit-check-") && n.DeletionTimestamp == nil {
			t.Errorf("namespace %s is left", n.Name)
		}
	}
	if out, errOut, code := suite.Podinit("check", "--pre"); code != exit.OK || !strings.Contains(out, "✓ you may create podinit's objects") {
		t.Errorf("--pre: exit code %d, %s%s", code, out, errOut)
	}
}

// TestNobody asks as somebody who may do nothing: what may not be read is not checked, and fails nothing.
func TestNobody(t *testing.T) {
	report, code := look(t, "--as=nobody", "--as-group=system:authenticated")
	if code != exit.OK || report.NotChecked < 20 {
		t.Errorf("exit code %d: %+v", code, report)
	}
	// What it takes to install podinit can be asked about oneself.
	report, code = look(t, "--pre", "--as=nobody", "--as-group=system:authenticated")
	found := problems(report)["install-rights"]
	for _, want := range []string{"you may not create clusterroles.rbac.authorization.k8s.io\n", "you may not watch nodes, and so cannot grant it (ClusterRole podinit-webhook)\n"} {
		if code != exit.Found || !strings.Contains(found, want) {
			t.Errorf("--pre: exit code %d, no %q in %s", code, want, found)
		}
	}
}

// TestNoCluster asks one that does not answer.
func TestNoCluster(t *testing.T) {
	_, errOut, code := suite.Podinit("check", "--server=https://127.0.0.1:1")
	if code != exit.Failed || !strings.Contains(errOut, "the cluster does not answer") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

// authority is who signs the webhook's certificate.
func authority(t *testing.T) *pki.Pair {
	t.Helper()
	s, err := client.CoreV1().Secrets(system).Get(t.Context(), secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(s.Data["ca.crt"], s.Data["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	return &pki.Pair{Certificate: pair.Leaf, Key: pair.PrivateKey.(crypto.Signer)}
}

// plant has the webhook serve a certificate that it cannot replace: the Secret is immutable from then on.
func plant(t *testing.T, by *pki.Pair, until time.Time, names ...string) {
	t.Helper()
	made := by.Issue(&x509.Certificate{
		DNSNames: names, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	data := map[string][]byte{"tls.crt": made.PEM(), "tls.key": made.KeyPEM()}
	patch(t, "secret", secret, "merge", mustJSON(t, map[string]any{"immutable": true, "data": data}))
}

// newSecret puts an empty one in the place of one that is immutable; the webhook fills it.
func newSecret(t *testing.T) {
	kubectl(t, "-n", system, "delete", "secret", secret)
	install(t)
}

// takeAway takes a verb for a resource out of the webhook's ClusterRole.
func takeAway(t *testing.T, name, resource, verb string) {
	t.Helper()
	role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, rule := range role.Rules {
		if slices.Contains(rule.Resources, resource) {
			role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(v string) bool { return v == verb })
		}
	}
	if _, err := client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// anotherReplica makes a pod like the webhook's, of an image that does the same and is another.
func anotherReplica(t *testing.T) {
	ctx := context.Background()
	d, err := client.AppsV1().Deployments(system).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(d.Spec.Template.Spec.Containers[0].Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.Author = "another"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	pushed, err := cluster.Push(ctx, "podinit/webhook-other", image)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "check-other", Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
	pod.Spec.Containers[0].Image = pushed
	if _, err := client.CoreV1().Pods(system).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
