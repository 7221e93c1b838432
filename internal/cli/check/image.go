package check

import (
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

// holds says whether a node's list of images has one, by its digest or its tag.
func holds(images []corev1.ContainerImage, image string) bool {
	want, err := name.ParseReference(image)
	if err != nil {
		return false
	}
	for _, i := range images {
		for _, n := range i.Names {
			if have, err := name.ParseReference(n); err == nil && have.Name() == want.Name() {
				return true
			}
		}
	}
	return false
}
