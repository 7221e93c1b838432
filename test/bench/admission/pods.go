package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// review is the AdmissionReview that an apiserver sends for a Pod of so many containers.
func review(containers int) []byte {
	gvk := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
	gvr := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	return mustMarshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1"},
		Request: &admissionv1.AdmissionRequest{
			UID:  "705ab4f5-6393-11e8-b7cc-42010a800002",
			Kind: gvk, Resource: gvr, RequestKind: &gvk, RequestResource: &gvr,
			Namespace: "shop", Operation: admissionv1.Create,
			UserInfo: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:replicaset-controller",
				UID:      "6f3b8b2a-6f0e-4f3a-9d55-1f5f2c6a7b10",
				Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
				Extra:    map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"JTI=2f4a5f5e-7b9c-4f8e-8a55-d3a1c9a3e1f2"}},
			},
			Object:  runtime.RawExtension{Raw: mustMarshal(newPod(containers))},
			DryRun:  new(false),
			Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
		},
	})
}

// newPod is what a Deployment's Pod looks like when webhooks see it: with the apiserver's defaults, the mount of the
// service account's token and the managedFields of the controller. Every container has a command, so all are wrapped.
func newPod(containers int) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "checkout-7c5ddbdf54-",
			Labels: map[string]string{
				"app.kubernetes.io/name": "checkout", "app.kubernetes.io/instance": "checkout-production",
				"app.kubernetes.io/version": "2026.11.3", "pod-template-hash": "7c5ddbdf54", "podinit.dev/inject": "enabled",
			},
			Annotations: map[string]string{
				"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics",
				"kubectl.kubernetes.io/restartedAt": "2026-11-03T09:41:07Z",
				"checksum/config":                   "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "checkout-7c5ddbdf54", UID: "5a3b4c1d-0a0f-4a39-a4ff-5c2d6a9f2b1e",
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: "checkout"}, DefaultMode: new(int32(0o644)),
				}}},
				{Name: "kube-api-access-x7v2q", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					DefaultMode: new(int32(0o644)),
					Sources: []corev1.VolumeProjection{
						{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
						{ConfigMap: &corev1.ConfigMapProjection{
							LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
							Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
						}},
						{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
							Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
						}}}},
					},
				}}},
			},
			RestartPolicy:                 corev1.RestartPolicyAlways,
			TerminationGracePeriodSeconds: new(int64(30)),
			DNSPolicy:                     corev1.DNSClusterFirst,
			ServiceAccountName:            "checkout",
			DeprecatedServiceAccount:      "checkout",
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(10001)), FSGroup: new(int64(10001)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
					Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
						LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": "checkout"}},
						TopologyKey:   "kubernetes.io/hostname",
					},
				}},
			}},
			SchedulerName: "default-scheduler",
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
				{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
			},
			Priority:           new(int32(0)),
			EnableServiceLinks: new(true),
			PreemptionPolicy:   new(corev1.PreemptLowerPriority),
		},
	}
	for i := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, newContainer(i))
	}
	managed := metav1.NewTime(time.Date(2026, time.November, 3, 9, 41, 7, 0, time.UTC))
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &managed,
		FieldsType: "FieldsV1", FieldsV1: fieldsOf(pod),
	}}
	return pod
}

func newContainer(i int) corev1.Container {
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: path, Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP,
			}},
			InitialDelaySeconds: 5, TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
		}
	}
	fromField := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	resources := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return corev1.Container{
		Name:    fmt.Sprintf("app-%d", i),
		Image:   "registry.example/shop/checkout:2026.11.3@sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
		Command: []string{"/usr/bin/python3", "-m", "gunicorn"},
		Args:    []string{"--bind=0.0.0.0:8080", "--workers=4", "--access-logfile=-", "checkout.wsgi:application"},
		Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: int32(8080 + 2*i), Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: int32(8081 + 2*i), Protocol: corev1.ProtocolTCP},
		},
		Env: []corev1.EnvVar{
			fromField("POD_NAME", "metadata.name"), fromField("POD_NAMESPACE", "metadata.namespace"),
			{Name: "DATABASE_URL", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "checkout"}, Key: "database-url",
			}}},
			{Name: "LOG_LEVEL", Value: "info"},
			{Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Value: "http://otel-collector.observability.svc:4317"},
			{Name: "GUNICORN_CMD_ARGS", Value: `--timeout 30 --access-logformat "%(h)s %(r)s %(s)s"`},
		},
		Resources: corev1.ResourceRequirements{Requests: resources("250m", "256Mi"), Limits: resources("1", "512Mi")},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "tmp", MountPath: "/tmp"},
			{Name: "config", MountPath: "/etc/checkout", ReadOnly: true},
			{Name: "kube-api-access-x7v2q", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		},
		LivenessProbe: probe("/healthz"), ReadinessProbe: probe("/readyz"),
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// mergeKeys are the lists of a Pod whose elements are owned one by one, and what tells the elements apart.
var mergeKeys = map[string][]string{
	"containers": {"name"}, "volumes": {"name"}, "env": {"name"}, "imagePullSecrets": {"name"}, "ownerReferences": {"uid"},
	"ports": {"containerPort", "protocol"}, "volumeMounts": {"mountPath"},
}

// fieldsOf is how server-side apply writes down that a manager owns all of a Pod's labels, annotations, owners and spec.
func fieldsOf(pod *corev1.Pod) *metav1.FieldsV1 {
	var object struct {
		Metadata map[string]any `json:"metadata"`
		Spec     any            `json:"spec"`
	}
	if err := json.Unmarshal(mustMarshal(pod), &object); err != nil {
		panic(err)
	}
	owned := map[string]any{"labels": nil, "annotations": nil, "generateName": nil, "ownerReferences": nil}
	for name := range owned {
		owned[name] = object.Metadata[name]
	}
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(mustMarshal(owners("", map[string]any{"metadata": owned, "spec": object.Spec})))
	return fields
}

func owners(name string, value any) map[string]any {
	set := map[string]any{}
	switch v := value.(type) {
	case map[string]any:
		for member, value := range v {
			set["f:"+member] = owners(member, value)
		}
	case []any:
		for _, element := range v {
			element, ok := element.(map[string]any)
			if !ok || mergeKeys[name] == nil {
				return set
			}
			var key []string
			for _, k := range mergeKeys[name] {
				key = append(key, fmt.Sprintf("%q:%s", k, mustMarshal(element[k])))
			}
			of := owners("", element)
			of["."] = struct{}{}
			set["k:{"+strings.Join(key, ",")+"}"] = of
		}
	}
	if name != "" && len(set) > 0 {
		set["."] = struct{}{}
	}
	return set
}

func mustMarshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
