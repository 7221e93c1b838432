package chart

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// variant is a way to say values. What it makes is looked at by a function of its kind, and validated as a whole.
type variant struct {
	values string // YAML
	files  []string
	look   func(t *testing.T, made map[string]map[string]any)
}

const someCA = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

// variants together say every value that there is: TestEveryValue holds them against values.yaml.
func variants() map[string]variant {
	return map[string]variant{
		"defaults": {look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "ValidatingAdmissionPolicy podinit-wrapping", "ValidatingAdmissionPolicyBinding podinit-wrapping")
			// The pods that serve may write nothing but Events.
			for _, role := range []string{"ClusterRole podinit-webhook", "ClusterRole podinit-webhook-pull-secrets", "ClusterRole podinit-webhook-events", "Role podinit-webhook"} {
				text := strings.Replace(asJSON(t, made[role]), `{"apiGroups":[""],"resources":["events"],"verbs":["create"]}`, "", 1)
				for _, verb := range []string{"create", "update", "patch", "delete", "*"} {
					if strings.Contains(text, `"`+verb+`"`) {
						t.Errorf("%s may %s: %s", role, verb, text)
					}
				}
			}
			expect(t, made, "ClusterRole podinit-certificates", `"resourceNames":["zz-podinit"],"resources":["mutatingwebhookconfigurations"],"verbs":["list","watch","update"]`)
			for _, w := range webhooks(t, made) {
				if _, has := w["clientConfig"].(map[string]any)["caBundle"]; has {
					t.Error("there is a caBundle, which whoever compares the cluster with this chart would put back")
				}
			}
			expect(t, made, "Deployment podinit-webhook", "ghcr.io/podinit/webhook:v0.1.0", "ghcr.io/podinit/init:v0.1.0")
			// The image is on every node, but those that are none, before the webhook gives it to pods; one that cannot be pulled
			// takes away none that is there.
			expect(t, made, "DaemonSet podinit-prepull", "ghcr.io/podinit/init:v0.1.0", `"maxSurge":"100%"`, `"maxUnavailable":0`, `"argocd.argoproj.io/sync-wave":"-1"`,
				`"values":["virtual-kubelet"]`, `"values":["fargate"]`)
			expect(t, made, "Deployment podinit-webhook", `"command":["/init","copy","/podinit/init"],"image":"ghcr.io/podinit/init:v0.1.0","imagePullPolicy":"IfNotPresent"`)
			expect(t, made, "Deployment podinit-certificates", "ghcr.io/podinit/webhook:v0.1.0", `"serviceAccountName":"podinit-certificates"`)
		}},
		"images": {values: `
images:
  registry: mirror.example:5000/a/b
  webhook: {repository: w, tag: v2, digest: "` + webhookDigest + `"}
  init: {repository: i, tag: v3, digest: ""}
  pullPolicy: Always
  pullSecrets: [one, two]
prepull: {resources: {requests: {cpu: 2m}}, nodeSelector: {a: b}, tolerations: [{key: k, operator: Exists}], affinity: {nodeAffinity: null, podAffinity: {}}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", "mirror.example:5000/a/b/w:v2@"+webhookDigest, `"mirror.example:5000/a/b/i:v3"`,
				`"imagePullPolicy":"Always"`, `"imagePullSecrets":[{"name":"one"},{"name":"two"}]`)
			expect(t, made, "Deployment podinit-certificates", "mirror.example:5000/a/b/w:v2@"+webhookDigest, `"imagePullPolicy":"Always"`, `"imagePullSecrets":[{"name":"one"},{"name":"two"}]`)
			expect(t, made, "DaemonSet podinit-prepull", `"mirror.example:5000/a/b/i:v3"`, `"imagePullSecrets":[{"name":"one"},{"name":"two"}]`,
				`"nodeSelector":{"a":"b","kubernetes.io/os":"linux"}`, `"tolerations":[{"key":"k","operator":"Exists"}]`, `"cpu":"2m"`, `"affinity":{"podAffinity":{}}`)
		}},
		"one tag": {values: `
images: {tag: mine, node: {tag: other}, webhook: {digest: "` + webhookDigest + `"}}
mode: both
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"ghcr.io/podinit/init:mine"`, `"ghcr.io/podinit/webhook:mine@`+webhookDigest+`"`)
			expect(t, made, "DaemonSet podinit-node", `"ghcr.io/podinit/node:other"`, `"ghcr.io/podinit/init:mine"`)
		}},
		"node": {values: `
mode: node
suspend: true
verbosity: 1
healthPort: 9081
metrics: {enabled: true, port: 9080}
webhook: {excludedNamespaces: [legacy]}
images: {node: {repository: plugin, tag: v4, digest: "` + webhookDigest + `"}, pullSecrets: [one]}
node:
  directory: /opt/podinit
  socketDirectory: /run/other/nri
  index: "70"
  report: false
  resources: {requests: {cpu: 3m}}
  rollingUpdate: {maxUnavailable: 1, maxSurge: 0}
  priorityClassName: ""
  criticalPodsQuota: {enabled: true, pods: 9}
  nodeSelector: {a: b}
  tolerations: [{key: k, operator: Exists}]
  affinity: {nodeAffinity: null, podAffinity: {}}
  seLinuxOptions: {type: spc_t}
  podLabels: {l: "1"}
  podAnnotations: {note: "2"}
  env: [{name: KUBERNETES_SERVICE_HOST, value: api.example}]
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "DaemonSet podinit-node", `"args":["-directory=/opt/podinit","-nri-index=70","-report=false","-health-probe-bind-address=:9081","-metrics-bind-address=:9080",`+
				`"-exclude-namespaces=kube-system,kube-public,kube-node-lease,legacy","-suspend","-v=1"]`, `"image":"ghcr.io/podinit/plugin:v4@`+webhookDigest,
				`"hostPath":{"path":"/run/other/nri"`, `"hostPath":{"path":"/opt/podinit"`, `"mountPath":"/opt/podinit"`, `"maxUnavailable":1`, `"cpu":"3m"`,
				`"nodeSelector":{"a":"b","kubernetes.io/os":"linux"}`, `"affinity":{"podAffinity":{}}`, `"seLinuxOptions":{"type":"spc_t"}`, `"l":"1"`, `"note":"2"`,
				"KUBERNETES_SERVICE_HOST", `"imagePullSecrets":[{"name":"one"}]`, `"containerPort":9080`, `"containerPort":9081`, `"key":"k"`)
			absent(t, made, "ResourceQuota podinit-node-critical-pods", "ResourceQuota podinit-critical-pods", "Deployment podinit-webhook", "Deployment podinit-certificates",
				"MutatingWebhookConfiguration zz-podinit", "ClusterRole podinit-webhook", "ClusterRole podinit-webhook-pull-secrets", "Service podinit-webhook", "DaemonSet podinit-prepull",
				"PodDisruptionBudget podinit-webhook", "ConfigMap podinit-registries")
			// It may read what it needs, and write nothing.
			text := asJSON(t, made["ClusterRole podinit-node"]) + asJSON(t, made["Role podinit-node-suspend"])
			for _, word := range []string{"create", "update", "patch", "delete", "*", "secrets", "pods"} {
				if strings.Contains(text, `"`+word+`"`) {
					t.Errorf("podinit-node has a right with %s: %s", word, text)
				}
			}
		}},
		"both": {values: "mode: both\nmetrics: {enabled: false}", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "DaemonSet podinit-node", `"args":["-metrics-bind-address=0"]`)
			expect(t, made, "ResourceQuota podinit-node-critical-pods", `"pods":"20000"`, `"values":["system-node-critical"]`)
			expect(t, made, "Deployment podinit-webhook", "ghcr.io/podinit/webhook:v0.1.0")
		}},
		"mirrors": {values: "images: {initMirrors: [mirror.example:5000/podinit/init, m.example/init]}", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"-init-image-mirrors=mirror.example:5000/podinit/init,m.example/init"`)
		}},
		"openshift": {values: "openshift: true", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"-openshift"`)
		}},
		"suspended": {values: "suspend: true", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"-suspend"`)
			expect(t, made, "Role podinit-webhook-suspend", `"resourceNames":["podinit-suspend"],"resources":["configmaps"],"verbs":["list","watch"]`)
		}},
		"no events": {values: "events: false", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"-events=false"`)
			absent(t, made, "ClusterRole podinit-webhook-events", "ClusterRoleBinding podinit-webhook-events")
		}},
		"no prepull": {values: "prepull: {enabled: false}", look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "DaemonSet podinit-prepull")
		}},
		"one replica": {values: "replicas: 1", look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "PodDisruptionBudget podinit-webhook")
		}},
		"many replicas": {values: `
replicas: 5
podDisruptionBudget: {enabled: true, minAvailable: 40%}
priorityClassName: system-node-critical
criticalPodsQuota: {enabled: true, pods: 7}
topologySpreadConstraints: [{topologyKey: t, maxSkew: 2, whenUnsatisfiable: DoNotSchedule}]
resources: {limits: {memory: 1Gi}}
nodeSelector: {role: system}
tolerations:
- {key: CriticalAddonsOnly, operator: Exists}
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoSchedule}
affinity: {podAntiAffinity: {}}
podLabels: {azure.workload.identity/use: "true"}
podAnnotations: {a: "1"}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: r}}
env: [{name: HTTPS_PROXY, value: "http://proxy.example:3128"}]
healthPort: 9081
verbosity: 1
metrics: {enabled: true, port: 9080}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"replicas":5`, `"topologyKey":"t"`, `"topologySpreadConstraints":[{"labelSelector":{"matchLabels":{"app.kubernetes.io/component":"webhook","app.kubernetes.io/name":"podinit"}},"maxSkew":2,`,
				`"limits":{"memory":"1Gi"}`, `"nodeSelector":{"kubernetes.io/os":"linux","role":"system"}`, `"affinity":{"podAntiAffinity":{}}`,
				`"tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":30},{"key":"CriticalAddonsOnly",`,
				`{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":60},`,
				`"azure.workload.identity/use":"true"`, `"a":"1"`, "HTTPS_PROXY", "-health-probe-bind-address=:9081", `"containerPort":9081`,
				"-metrics-bind-address=:9080", `"containerPort":9080`, `"-v=1"`, `"priorityClassName":"system-node-critical"`)
			expect(t, made, "Deployment podinit-certificates", `"replicas":1`, `"nodeSelector":{"kubernetes.io/os":"linux","role":"system"}`, `"key":"CriticalAddonsOnly"`,
				`"affinity":{"podAntiAffinity":{}}`, "-health-probe-bind-address=:9081", `"containerPort":9081`, `"-v=1"`, `"priorityClassName":"system-node-critical"`)
			expect(t, made, "PodDisruptionBudget podinit-webhook", `"minAvailable":"40%"`)
			expect(t, made, "ResourceQuota podinit-critical-pods", `"pods":"7"`, `"values":["system-node-critical"]`)
			expect(t, made, "ServiceAccount podinit-webhook", `"eks.amazonaws.com/role-arn":"r"`)
		}},
		"little": {values: `
podDisruptionBudget: {enabled: false}
priorityClassName: ""
crds: {install: false}
topologySpreadConstraints: []
metrics: {enabled: false}
lookups: {enabled: false, timeout: 3s, pullSecrets: true}
networkPolicy: {enabled: true, registryPorts: [444]}
`, look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "PodDisruptionBudget podinit-webhook", "ResourceQuota podinit-critical-pods", "CustomResourceDefinition initprofiles.podinit.dev",
				"ClusterRole podinit-webhook-pull-secrets", "ClusterRoleBinding podinit-webhook-pull-secrets")
			expect(t, made, "Deployment podinit-webhook", "-metrics-bind-address=0", "-lookups=false", `"podAntiAffinity":{"preferred`, `"topologyKey":"topology.kubernetes.io/zone"`)
			if text := asJSON(t, made["NetworkPolicy podinit-webhook"]); strings.Contains(text, "metrics") || strings.Contains(text, "444") {
				t.Errorf("metrics and lookups are off, and still: %s", text)
			}
		}},
		"without the quota": {values: "criticalPodsQuota: {enabled: false}", look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "ResourceQuota podinit-critical-pods")
		}},
		"host network": {values: "hostNetwork: true", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", `"hostNetwork":true`, `"dnsPolicy":"ClusterFirstWithHostNet"`, "-port=10260", `"containerPort":10260`,
				`"maxSurge":0`, `"maxUnavailable":1`)
		}},
		"port": {values: "port: 8443", look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-webhook", "-port=8443", `"containerPort":8443`)
		}},
		"webhook": {values: `
webhook: {failurePolicy: Fail, timeoutSeconds: 10, excludedNamespaces: [kube-system, istio-system], annotations: {admissions.enforcer/disabled: null, a: b}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			for _, w := range webhooks(t, made) {
				text := asJSON(t, w)
				// What the first call cannot do is left to the second, which says what becomes of the pod.
				policy, timeout := `"failurePolicy":"Ignore"`, `"timeoutSeconds":10`
				if strings.HasPrefix(w["name"].(string), "again.") {
					policy, timeout = `"failurePolicy":"Fail"`, `"timeoutSeconds":3`
				}
				for _, want := range []string{policy, timeout,
					`{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["kube-system","kube-public","kube-node-lease","istio-system","podinit-system"]}`} {
					if !strings.Contains(text, want) {
						t.Errorf("webhook %v has no %s: %s", w["name"], want, text)
					}
				}
			}
			expect(t, made, "MutatingWebhookConfiguration zz-podinit", `"annotations":{"a":"b"}`)
			expect(t, made, "Deployment podinit-webhook", "-exclude-namespaces=kube-system,kube-public,kube-node-lease,istio-system")
		}},
		"lookups": {values: `
lookups: {enabled: true, timeout: 1500ms, pullSecrets: false}
registries:
  config:
    registries: [{host: "registry.example:5000", caFile: registry.crt, privateNetworks: [10.1.2.0/24]}]
    privateNetworks: [10.0.0.0/8]
    credentials: {namespaces: [team-a]}
  files: {registry.crt: "` + strings.ReplaceAll(someCA, "\n", `\n`) + `"}
  hostsVolume: {configMap: {name: hosts}}
  dockerConfigSecret: docker
  credentialProviders:
    config: {apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: []}
    volume: {image: {reference: registry.example/programs}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "ClusterRole podinit-webhook-pull-secrets", "ClusterRoleBinding podinit-webhook-pull-secrets")
			expect(t, made, "Deployment podinit-webhook", "-lookup-timeout=1500ms", "-pull-secrets=false",
				`{"name":"docker-config","secret":{"items":[{"key":".dockerconfigjson","path":"config.json"}],"secretName":"docker"}}`,
				`{"mountPath":"/etc/podinit/docker","name":"docker-config","readOnly":true}`,
				`{"configMap":{"name":"hosts"},"name":"hosts"}`, `{"mountPath":"/etc/podinit/certs.d","name":"hosts","readOnly":true}`,
				`{"image":{"reference":"registry.example/programs"},"name":"credential-providers"}`,
				`{"mountPath":"/etc/podinit/bin","name":"credential-providers","readOnly":true}`)
			expect(t, made, "ConfigMap podinit-registries", "dockerConfigFile: /etc/podinit/docker/config.json", "providerConfigFile: credential-providers.yaml",
				"programDirectory: /etc/podinit/bin", "hostsDirectory: /etc/podinit/certs.d", "caFile: registry.crt", `"registry.crt":"-----BEGIN`, `"credential-providers.yaml":"apiVersion`, "10.0.0.0/8")
		}},
		"pull secrets of some namespaces": {values: "lookups: {pullSecretNamespaces: [default, kube-public, default]}", look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "ClusterRoleBinding podinit-webhook-pull-secrets")
			for _, namespace := range []string{"default", "kube-public"} {
				expect(t, made, "RoleBinding podinit-webhook-pull-secrets in "+namespace, `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"podinit-webhook-pull-secrets"}`,
					`"subjects":[{"kind":"ServiceAccount","name":"podinit-webhook","namespace":"podinit-system"}]`)
			}
		}},
		"self-managed": {values: `
certificate: {mode: self-managed, selfManaged: {resources: {requests: {cpu: 7m}}, env: [{name: KUBERNETES_SERVICE_HOST, value: apiserver.example}]}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "Deployment podinit-certificates", `"cpu":"7m"`, `{"name":"KUBERNETES_SERVICE_HOST","value":"apiserver.example"}`)
		}},
		"wrapping policy": {values: `
images: {registry: "mirror.example:5000/a", init: {repository: b/i, digest: "` + initDigest + `"}}
webhook: {excludedNamespaces: [istio-system]}
wrappingPolicy:
  enabled: true
  validationActions: [Audit, Warn]
  namespaceSelector: {matchLabels: {team: strict}}
  exempt: [{name: istio-proxy, repository: docker.io/istio/proxyv2}, {name: p, repository: "r:5000/p"}]
  sidecars: true
  initContainers: true
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "ValidatingAdmissionPolicy podinit-wrapping", `{"expression":"'mirror.example:5000/a/b/i'","name":"initRepository"}`,
				`{"expression":"[{'name': 'istio-proxy', 'repository': 'docker.io/istio/proxyv2'}, {'name': 'p', 'repository': 'r:5000/p'}]","name":"exempt"}`,
				`{"expression":"true","name":"sidecars"}`, `{"expression":"true","name":"initContainers"}`)
			expect(t, made, "ValidatingAdmissionPolicyBinding podinit-wrapping", `"validationActions":["Audit","Warn"]`,
				`"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["kube-system","kube-public","kube-node-lease","istio-system","podinit-system"]}],"matchLabels":{"team":"strict"}}`)
		}},
		"cert-manager": {values: `
certificate: {mode: cert-manager, certManager: {issuerRef: {name: ours, kind: ClusterIssuer, group: cert-manager.io}, duration: 24h, renewBefore: 8h}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			absent(t, made, "Issuer podinit-ca", "Certificate podinit-ca")
			expect(t, made, "Certificate podinit-webhook", `"issuerRef":{"group":"cert-manager.io","kind":"ClusterIssuer","name":"ours"}`, `"duration":"24h"`, `"renewBefore":"8h"`)
			mayNotRotate(t, made)
		}},
		"existing certificate": {
			values: "certificate: {mode: existing, existing: {secretName: ours}}",
			files:  []string{"certificate.existing.caBundle=ca.crt"},
			look: func(t *testing.T, made map[string]map[string]any) {
				expect(t, made, "Deployment podinit-webhook", "-certificate-directory=/etc/podinit/tls", `"secret":{"secretName":"ours"}`)
				for _, w := range webhooks(t, made) {
					if bundle := asJSON(t, w["clientConfig"]); !strings.Contains(bundle, `"caBundle":"LS0tLS1CRUdJTiBDRVJU`) {
						t.Errorf("webhook %v: %s", w["name"], bundle)
					}
				}
				mayNotRotate(t, made)
			},
		},
		"client certificates": {
			values: "clientCertificates: {names: [kube-apiserver, front]}",
			files:  []string{"clientCertificates.caBundle=ca.crt"},
			look: func(t *testing.T, made map[string]map[string]any) {
				expect(t, made, "Deployment podinit-webhook", "-client-ca-file=/etc/podinit/client-ca/ca.crt", `"-client-names=kube-apiserver,front"`, `"configMap":{"name":"podinit-client-ca"}`,
					`{"mountPath":"/etc/podinit/client-ca","name":"client-ca","readOnly":true}`)
				expect(t, made, "ConfigMap podinit-client-ca", `"ca.crt":"-----BEGIN CERTIFICATE-----\nMA==\n`)
			},
		},
		"network policy": {values: `
networkPolicy: {enabled: true, admissionFrom: [{ipBlock: {cidr: 10.0.0.10/32}}], metricsFrom: [{podSelector: {}}], dnsPorts: [5353], apiserverPorts: [16443], registryPorts: [5000]}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "NetworkPolicy podinit-webhook", `{"from":[{"ipBlock":{"cidr":"10.0.0.10/32"}}],"ports":[{"port":"webhook","protocol":"TCP"}]},{"ports":[{"port":"health","protocol":"TCP"}]}`,
				`"from":[{"podSelector":{}}]`, `{"port":5353,"protocol":"UDP"}`, `"port":16443`, `"port":5000`)
			expect(t, made, "NetworkPolicy podinit-certificates", `{"port":5353,"protocol":"UDP"}`, `"port":16443`)
			if text := asJSON(t, made["NetworkPolicy podinit-certificates"]); strings.Contains(text, `"port":5000`) {
				t.Errorf("what keeps the certificate needs no registry, and still: %s", text)
			}
			if text := asJSON(t, made["NetworkPolicy podinit-webhook"]); strings.Contains(text, `"port":53,`) {
				t.Errorf("DNS is elsewhere, and still: %s", text)
			}
		}},
		"network policy of the nodes": {values: `
mode: node
networkPolicy: {enabled: true, metricsFrom: [{podSelector: {}}], reportFrom: [{ipBlock: {cidr: 10.0.0.10/32}}], dnsPorts: [5353], apiserverPorts: [16443], registryPorts: [5000]}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "NetworkPolicy podinit-node", `"from":[{"podSelector":{}},{"ipBlock":{"cidr":"10.0.0.10/32"}}],"ports":[{"port":"metrics","protocol":"TCP"}]`,
				`{"port":5353,"protocol":"UDP"}`, `"port":16443`, `"matchLabels":{"app.kubernetes.io/component":"node","app.kubernetes.io/name":"podinit"}`)
			if text := asJSON(t, made["NetworkPolicy podinit-node"]); strings.Contains(text, `"port":5000`) || strings.Contains(text, `"port":53,`) {
				t.Errorf("no registry is asked, and DNS is elsewhere, and still: %s", text)
			}
			absent(t, made, "NetworkPolicy podinit-webhook", "NetworkPolicy podinit-certificates")
		}},
		"network policy of both": {values: `
mode: both
node: {report: false}
networkPolicy: {enabled: true, metricsFrom: [], reportFrom: [{ipBlock: {cidr: 10.0.0.10/32}}]}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "NetworkPolicy podinit-webhook", `"port":"webhook"`)
			expect(t, made, "NetworkPolicy podinit-node", `"ingress":[{"ports":[{"port":"health","protocol":"TCP"}]}]`)
		}},
		"metrics": {values: `
metrics:
  serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}
  prometheusRule: {enabled: true, labels: {release: prometheus}}
  dashboard: {enabled: true, labels: {grafana_dashboard: null, found: here}, annotations: {grafana_folder: podinit}}
`, look: func(t *testing.T, made map[string]map[string]any) {
			expect(t, made, "ServiceMonitor podinit-webhook", `"interval":"10s"`, `"release":"prometheus"`)
			expect(t, made, "PrometheusRule podinit", `"release":"prometheus"`, "{{ $labels.pod }}")
			expect(t, made, "ConfigMap podinit-dashboard", `"found":"here"`, `"annotations":{"grafana_folder":"podinit"}`)
			if text := asJSON(t, made["ConfigMap podinit-dashboard"]); strings.Contains(text, "grafana_dashboard") {
				t.Errorf("the label that was taken away is still there: %s", text)
			}
		}},
		"as a dependency": {values: "global: {anything: 1}"},
	}
}

// mayNotRotate fails if the webhook has a right that only who makes certificates needs.
func mayNotRotate(t *testing.T, made map[string]map[string]any) {
	t.Helper()
	absent(t, made, "Secret podinit-webhook-certificate")
	if text := asJSON(t, made["Role podinit-webhook"]); strings.Contains(text, "secrets") {
		t.Errorf("Role podinit-webhook: %s", text)
	}
	for key := range made {
		if strings.Contains(key, " podinit-certificates") {
			t.Errorf("there is a %s, and nothing to keep", key)
		}
	}
	for key, object := range made {
		if strings.HasPrefix(key, "ClusterRole ") {
			if text := asJSON(t, object); strings.Contains(text, "admissionregistration") || strings.Contains(text, "update") {
				t.Errorf("%s: %s", key, text)
			}
		}
	}
}

func webhooks(t *testing.T, made map[string]map[string]any) (all []map[string]any) {
	t.Helper()
	list, _, err := unstructured.NestedSlice(made["MutatingWebhookConfiguration zz-podinit"], "webhooks")
	if err != nil || len(list) < 2 {
		t.Fatalf("%d webhooks, error %v", len(list), err)
	}
	for _, w := range list {
		all = append(all, w.(map[string]any))
	}
	return all
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// expect fails if an object is not there or its JSON, keys in order, lacks a text.
func expect(t *testing.T, made map[string]map[string]any, key string, texts ...string) {
	t.Helper()
	object, ok := made[key]
	if !ok {
		t.Errorf("there is no %s", key)
		return
	}
	text := asJSON(t, object)
	for _, want := range texts {
		if !strings.Contains(text, want) {
			t.Errorf("%s has no %s: %s", key, want, text)
		}
	}
}

func absent(t *testing.T, made map[string]map[string]any, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, ok := made[key]; ok {
			t.Errorf("there is a %s", key)
		}
	}
}

// arguments are what Helm is given for a variant.
func (v variant) arguments(t *testing.T) []string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range map[string]string{"values.yaml": v.values, "ca.crt": someCA} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	arguments := []string{"--values=" + filepath.Join(directory, "values.yaml")}
	for _, file := range v.files {
		value, name, _ := strings.Cut(file, "=")
		arguments = append(arguments, "--set-file="+value+"="+filepath.Join(directory, name))
	}
	return arguments
}

// TestVariants renders each variant, looks at what it is about, and decodes all objects as strictly as an apiserver can.
func TestVariants(t *testing.T) {
	strict := jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, jsonserializer.SerializerOptions{Strict: true})
	all := variants()
	for _, file := range valuesFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = variant{values: string(text)}
	}
	for name, v := range all {
		for _, helm := range helms {
			t.Run(name+"/"+helm, func(t *testing.T) {
				made := rendered(t, helm, v.arguments(t)...)
				for key, object := range made {
					// Others' kinds and CustomResourceDefinitions are left to the real apiserver.
					if _, _, err := strict.Decode([]byte(asJSON(t, object)), nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
						t.Errorf("%s: %v", key, err)
					}
					if namespace := (&unstructured.Unstructured{Object: object}).GetNamespace(); namespace != "" && namespace != system && !strings.HasPrefix(key, "RoleBinding podinit-webhook-pull-secrets in ") {
						t.Errorf("%s is in namespace %s", key, namespace)
					}
				}
				if v.look != nil {
					v.look(t, made)
				}
			})
		}
	}
}

// valuesFiles are those that the chart has for platforms.
func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chart, "values-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, error %v", files, err)
	}
	return files
}

// TestLint has Helm look at the chart itself.
func TestLint(t *testing.T) {
	for _, helm := range helms {
		if _, err := runHelm(t, helm, "lint", "--strict", chart); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusals: what is wrong is said, where it is, and if it is no matter of type, what to do.
func TestRefusals(t *testing.T) {
	for values, want := range map[string][]string{
		"--set=replcas=3":                                                   {"replcas", "not allowed"},
		"--set=image.tag=v1":                                                {"'image'", "not allowed"},
		"--set=images.init.tga=v1":                                          {"/images/init", "'tga'", "not allowed"},
		"--set=metrics.enable=true":                                         {"/metrics", "'enable'"},
		"--set=registries.config.registry=x":                                {"/registries/config", "'registry'"},
		"--set=replicas=0":                                                  {"/replicas", "want 1"},
		"--set=replicas=two":                                                {"/replicas", "want integer"},
		"--set=webhook.failurePolicy=fail":                                  {"/webhook/failurePolicy", "'Ignore', 'Fail'"},
		"--set=webhook.timeoutSeconds=31":                                   {"/webhook/timeoutSeconds", "want 30"},
		"--set=certificate.mode=vault":                                      {"/certificate/mode", "'self-managed', 'cert-manager', 'existing'"},
		"--set=images.init.digest=abc":                                      {"/images/init/digest", "'abc'", "sha256"},
		"--set=images.registry=ghcr.io/podinit/":                            {"/images/registry", "'ghcr.io/podinit/'"},
		"--set=lookups.timeout=3":                                           {"/lookups/timeout", "got number, want string"},
		"--set=port=70000":                                                  {"/port", "want 65,535"},
		"--set=webhook.excludedNamespaces={A_b}":                            {"/webhook/excludedNamespaces/0", "'A_b'"},
		"--set=hostNetwork=true,port=10250":                                 {"10250 is the kubelet's", "10260"},
		"--set=certificate.mode=existing":                                   {"certificate.existing.", "with certificate.mode existing"},
		"--set=metrics.enabled=false,metrics.serviceMonitor.enabled=true":   {"metrics.serviceMonitor.enabled", "metrics.enabled"},
		"--set=webhook.failurePolicy=null":                                  {"failurePolicy"},
		"--set=replicas=20":                                                 {"criticalPodsQuota.pods", "20 are too few"},
		"--set=certificate.certManager.issuerRef.kind=ClusterIssuer":        {"/certificate/certManager/issuerRef", "name"},
		"--set=healthPort=8080":                                             {"metrics.port", "10250, 8080, 8080"},
		"--set=replicas=2,podDisruptionBudget.minAvailable=2":               {"podDisruptionBudget.minAvailable", "drained"},
		"--set=replicas=4,podDisruptionBudget.minAvailable=76%":             {"podDisruptionBudget.minAvailable", "76%"},
		"--set=clientCertificates.names={a}":                                {"clientCertificates.caBundle"},
		"--set=clientCertificates.caBundle=ca.crt":                          {"/clientCertificates/caBundle"},
		"--set-json=networkPolicy.dnsPorts=[]":                              {"/networkPolicy/dnsPorts"},
		"--set-json=networkPolicy.apiserverPorts=[]":                        {"/networkPolicy/apiserverPorts"},
		"--set=mode=sidecar":                                                {"mode", "webhook"},
		"--set=mode=node,wrappingPolicy.enabled=true":                       {"wrappingPolicy.enabled", "with mode node no pod has the init in its spec"},
		"--set=mode=both,priorityClassName=system-node-critical":            {"node.priorityClassName", "it must differ from priorityClassName"},
		"--set=registries.dockerConfigSecret=x":                             {"registries.config.credentials.namespaces", `["*"] means all`},
		`--set=registries.files.registries\.yaml=`:                          {"registries.files", "registries.yaml"},
		"--set=certificate.mode=existing,certificate.existing.secretName=x": {"certificate.existing.caBundle", "--set-file"},
		"--set=certificate.mode=existing,certificate.existing.caBundle=-----BEGIN CERTIFICATE-----":            {"certificate.existing.secretName"},
		"--set=certificate.mode=existing,certificate.existing.caBundle=LS0t,certificate.existing.secretName=x": {"certificate.existing.caBundle", "PEM"},
	} {
		for _, helm := range helms {
			message, err := runHelm(t, helm, "template", "podinit", chart, "--namespace", system, values)
			if err == nil {
				t.Errorf("%s: %s is not refused", helm, values)
			}
			for _, text := range want {
				if !strings.Contains(message, text) {
					t.Errorf("%s: %s: no %q in: %s", helm, values, text, message)
				}
			}
		}
	}
}

// TestNull: a value that is taken away by null is refused by name, or what is made without it is whole. The apiserver takes a
// failurePolicy of null for Fail.
func TestNull(t *testing.T) {
	for _, path := range paths(readSchema(t), nil) {
		name := strings.Join(path, ".")
		for _, helm := range helms {
			text, err := runHelm(t, helm, "template", "podinit", chart, "--namespace", system, "--set=networkPolicy.enabled=true", "--set="+name+"=null")
			if err != nil {
				if !strings.Contains(text, "missing propert") && !strings.Contains(text, "got null") || !strings.Contains(text, path[len(path)-1]) {
					t.Errorf("%s: %s=null: %v", helm, name, err)
				}
				continue
			}
			for key, object := range objects(t, text) {
				if hole := null(object); hole != "" {
					t.Errorf("%s: %s=null: %s has nothing at %s", helm, name, key, hole)
				}
			}
		}
	}
}

// paths are those of all values in a schema.
func paths(n node, path []string) (all [][]string) {
	for name, child := range n.Properties {
		path := append(slices.Clone(path), name)
		all = append(all, path)
		all = append(all, paths(child, path)...)
	}
	return all
}

// null is the path of something that is null, or of a flag without its value.
func null(value any) string {
	switch value := value.(type) {
	case nil:
		return "/"
	case map[string]any:
		for key, child := range value {
			if hole := null(child); hole != "" {
				return "/" + key + hole
			}
		}
	case []any:
		for _, child := range value {
			if hole := null(child); hole != "" {
				return "/-" + hole
			}
		}
	case string:
		if strings.HasPrefix(value, "-") && (strings.HasSuffix(value, "=") || strings.HasSuffix(value, ":")) {
			return "/" + value
		}
	}
	return ""
}

// TestNumbersAsNames: a release and its namespace may be called 1 and 0x2, which are numbers in YAML.
func TestNumbersAsNames(t *testing.T) {
	for _, helm := range helms {
		for _, values := range []string{"--set=certificate.mode=self-managed", "--set=certificate.mode=cert-manager"} {
			text, err := runHelm(t, helm, "template", "1", chart, "--namespace", "0x2", values,
				"--set=networkPolicy.enabled=true,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true")
			if err != nil {
				t.Fatal(err)
			}
			for key, object := range objects(t, text) {
				metadata := object["metadata"].(map[string]any)
				if namespace, has := metadata["namespace"]; has && namespace != "0x2" {
					t.Errorf("%s: %s is in namespace %v", helm, key, namespace)
				}
				if instance := metadata["labels"].(map[string]any)["app.kubernetes.io/instance"]; instance != "1" {
					t.Errorf("%s: %s is of instance %v", helm, key, instance)
				}
				subjects, _ := object["subjects"].([]any)
				for _, subject := range subjects {
					if namespace := subject.(map[string]any)["namespace"]; namespace != "0x2" {
						t.Errorf("%s: %s is for namespace %v", helm, key, namespace)
					}
				}
			}
		}
	}
}

// TestEveryValue holds values.yaml against the rest: each value has a comment, is in the schema and in docs/install.md, and is
// said in one of the variants above; and nothing is in the schema that values.yaml does not have.
func TestEveryValue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	schema := readSchema(t)
	guide, err := os.ReadFile(filepath.Join(root, "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	var said []map[string]any
	for name, v := range variants() {
		var values map[string]any
		if err := yaml.UnmarshalStrict([]byte(v.values), &values); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, file := range v.files {
			value, _, _ := strings.Cut(file, "=")
			if err := unstructured.SetNestedField(values, "", strings.Split(value, ".")...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		said = append(said, values)
	}

	for _, path := range leaves(schema, nil) {
		name := strings.Join(path, ".")
		if name == "global" { // Helm's own
			continue
		}
		if _, found, err := unstructured.NestedFieldNoCopy(values, path...); !found && !strings.HasPrefix(name, "registries.config.") && !strings.HasPrefix(name, "certificate.certManager.issuerRef.") {
			t.Errorf("%s is in the schema and not in values.yaml (error %v)", name, err)
		}
		if !slices.ContainsFunc(said, func(values map[string]any) bool {
			_, found, _ := unstructured.NestedFieldNoCopy(values, path...)
			return found
		}) && !strings.HasPrefix(name, "registries.config.credentials.") && name != "registries.config.hostsDirectory" {
			t.Errorf("no variant of this test says %s", name)
		}
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	explained(t, schema, document.Content[0], nil, string(guide))
}

// explained fails for each key of a mapping that has no comment, or is not in the guide.
func explained(t *testing.T, schema node, mapping *yamlv3.Node, path []string, guide string) {
	t.Helper()
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		path := append(slices.Clone(path), key.Value)
		name := strings.Join(path, ".")
		if key.HeadComment == "" {
			t.Errorf("values.yaml: %s has no comment", name)
		}
		if child := schema.Properties[key.Value]; child.closed() && len(value.Content) > 0 {
			explained(t, child, value, path, guide)
		} else if !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("docs/install.md does not name `%s`", name)
		}
	}
}

// node is what this test needs of a JSON schema.
type node struct {
	Properties           map[string]node `json:"properties"`
	AdditionalProperties any             `json:"additionalProperties"`
}

func readSchema(t *testing.T) (schema node) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// closed says whether an object has a word for each of its values.
func (n node) closed() bool { return len(n.Properties) > 0 && n.AdditionalProperties == false }

// leaves are the paths of all values of a schema that has a word for every one.
func leaves(n node, path []string) (all [][]string) {
	if !n.closed() {
		return [][]string{path}
	}
	for name, child := range n.Properties {
		all = append(all, leaves(child, append(slices.Clone(path), name))...)
	}
	return all
}
