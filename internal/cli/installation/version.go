package installation

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/imageconfig"
)

// versionLabel is the label that says the version of what is installed.
const versionLabel = "app.kubernetes.io/version"

// Version is the webhook's version, and what says so: the Deployment's label, its image's tag, or else the pod that it has
// wrapped last; both are empty if nothing says it. Pods are listed last, since there may be many.
func Version(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment) (version, source string) {
	if version, source = VersionOf(d.Labels, Image(d)); version != "" {
		return version, source
	}
	if version = lastWrapped(ctx, client); version != "" {
		return version, "label " + v1alpha1.VersionLabel + " of the pod wrapped last"
	}
	return "", ""
}

// isVersion matches tags that are versions, and not others, such as "prod" on a mirror.
var isVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+`)

// VersionOf is the version in the labels of a Deployment or DaemonSet, or in the tag of its image, and which of them has it; both
// are empty if neither has it.
func VersionOf(labels map[string]string, image string) (version, source string) {
	if label := labels[versionLabel]; label != "" {
		return label, "label " + versionLabel
	}
	tagged, _, _ := strings.Cut(image, "@") // "make push" names images by both
	if imageconfig.CheckName(tagged) != nil {
		return "", ""
	}
	if tag, err := name.NewTag(tagged, name.WithDefaultTag("")); err == nil && isVersion.MatchString(tag.TagStr()) {
		return tag.TagStr(), "the image's tag"
	}
	return "", ""
}

// lastWrapped is the version that the youngest of the pods that are wrapped has; empty if there is none, or it cannot
// be known.
func lastWrapped(ctx context.Context, client kubernetes.Interface) string {
	var version string
	var at time.Time
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector = v1alpha1.VersionLabel
		list, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, pod := range list.Items {
			if made := pod.CreationTimestamp.Time; version == "" || made.After(at) {
				version, at = pod.Labels[v1alpha1.VersionLabel], made
			}
		}
		return list, nil
	})
	if err != nil {
		return ""
	}
	return version
}
