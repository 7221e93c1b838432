package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/webhook"
)

// config of the injection; every handler that injects gives the same Pods.
var config = inject.Config{Image: "registry.example/podinit/init:v1.2.3", Version: "v1.2.3", ExcludedNamespaces: []string{"podinit-system"}}

// variant is one way to answer an AdmissionReview.
type variant struct {
	name    string
	handler http.Handler
}

// variants are the floor first, the usual way last.
func variants() ([]variant, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	log := logr.FromSlogHandler(slog.NewJSONHandler(io.Discard, nil))
	ctrllog.SetLogger(log)
	return []variant{
		{"floor", http.HandlerFunc(floor)},
		{"allow", &ctrladmission.Webhook{Handler: ctrladmission.HandlerFunc(allow)}},
		{"podinit", &webhook.Handler{
			Mutator: admission.Planner{Config: config},
			Metrics: webhook.NewMetrics(prometheus.NewRegistry()),
			Log:     log,
		}},
		{"usual", &ctrladmission.Webhook{Handler: typed{ctrladmission.NewDecoder(scheme)}}},
	}, nil
}

// floor is the least that the standard library does for an answer: the uid is all that it takes from the review.
func floor(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var asked struct {
		Request struct {
			UID types.UID `json:"uid"`
		} `json:"request"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1"},
		Response: &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: true},
	})
}

// allow is what controller-runtime's server does before any handler: it decodes the AdmissionReview, and the Pod is
// not looked at.
func allow(context.Context, ctrladmission.Request) ctrladmission.Response {
	return ctrladmission.Allowed("")
}

// typed is the usual way: decode into corev1.Pod, change it, marshal it, and let controller-runtime find the difference.
// It decides nothing: what it does suits the benchmark's Pods only.
type typed struct{ ctrladmission.Decoder }

func (d typed) Handle(_ context.Context, request ctrladmission.Request) ctrladmission.Response {
	pod := &corev1.Pod{}
	if err := d.Decode(request, pod); err != nil {
		return ctrladmission.Errored(http.StatusBadRequest, err)
	}
	if err := mutate(pod); err != nil {
		return ctrladmission.Errored(http.StatusInternalServerError, err)
	}
	current, err := json.Marshal(pod)
	if err != nil {
		return ctrladmission.Errored(http.StatusInternalServerError, err)
	}
	return ctrladmission.PatchResponseFromRaw(request.Object.Raw, current)
}

func mutate(pod *corev1.Pod) error {
	const volume, path = "podinit", "/podinit"
	status := v1alpha1.Status{
		V: v1alpha1.StatusVersion, Version: config.Version, Delivery: v1alpha1.DeliveryInitContainer,
		Containers: map[string]v1alpha1.ContainerStatus{},
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.Command = append([]string{
			path + "/init", fmt.Sprintf("--grace=%ds", *pod.Spec.TerminationGracePeriodSeconds),
			"--termination-message=" + strings.ReplaceAll(c.TerminationMessagePath, "$", "$$"), "--",
		}, c.Command...)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path, ReadOnly: true})
		status.Containers[c.Name] = v1alpha1.ContainerStatus{Action: v1alpha1.ActionWrapped, Source: v1alpha1.SourceCommand}
	}
	mounts := []corev1.VolumeMount{{Name: volume, MountPath: path}}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" {
			mounts = append(mounts, m)
		}
	}
	pod.Spec.InitContainers = slices.Insert(pod.Spec.InitContainers, 0, corev1.Container{
		Name: "podinit-copy", Image: config.Image, Command: []string{"/init", "copy", path + "/init"}, WorkingDir: "/",
		Resources:                pod.Spec.Containers[0].Resources,
		VolumeMounts:             mounts,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	})
	limit := resource.MustParse("32Mi")
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: volume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}},
	})
	raw, err := json.Marshal(status)
	if err != nil {
		return err
	}
	pod.Annotations[v1alpha1.StatusAnnotation] = string(raw)
	pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"] = volume
	pod.Annotations["backup.velero.io/backup-volumes-excludes"] = volume
	if len(pod.Spec.Containers) == 1 && len(pod.Spec.InitContainers) == 1 {
		pod.Annotations["kubectl.kubernetes.io/default-container"] = pod.Spec.Containers[0].Name
	}
	pod.Labels[v1alpha1.VersionLabel] = config.Version
	return nil
}
