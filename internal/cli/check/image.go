package check

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/internal/imageconfig"
)

// holds says whether a node's list of images has one, by its digest or its tag.
func holds(images []corev1.ContainerImage, image string) bool {
	want, err := imageconfig.ParseReference(image)
	if err != nil {
		return false
	}
	for _, i := range images {
		for _, n := range i.Names {
			if have, err := imageconfig.ParseReference(n); err == nil && have == want {
				return true
			}
		}
	}
	return false
}
