package inject

import (
	"regexp"
	"slices"
	"strings"

	"github.com/podinit/podinit/internal/imageconfig"
)

// initImage is the reference under which a copier or a volume has the init: the installation's, unless what is there already
// stands for the same. Another webhook may have written that between our two calls, one that verifies images (sigstore's
// policy-controller, Kyverno) or sends them to a mirror (Zarf, k8s-image-swapper), and its own check refuses the Pod if it
// is not left so. A tenant may have written it, too, so it must not choose what runs (see Stands).
func (c Config) initImage(existing string) string {
	if c.Stands(existing) {
		return existing
	}
	return c.Image
}

// Stands says whether a reference is one of the installation's init image, as another webhook may have written it:
//
//   - in the same repository, or in one of Mirrors;
//   - with the same digest, if Image has one. If it has none, with the same tag, and any digest: to trust a tag is to
//     trust the repository.
func (c Config) Stands(existing string) bool {
	if existing == c.Image || existing == "" {
		return existing != ""
	}
	theirs, ok := splitReference(existing)
	if !ok {
		return false
	}
	ours, ok := splitReference(c.Image)
	if !ok || theirs.repository != ours.repository && !slices.ContainsFunc(c.Mirrors, func(mirror string) bool {
		m, ok := splitReference(mirror)
		return ok && m.repository == theirs.repository
	}) {
		return false
	}
	checksum, zarf := strings.CutPrefix(theirs.tag, ours.tag+"-zarf-")
	sameTag := theirs.tag == ours.tag || zarf && digits.MatchString(checksum)
	if ours.digest != "" {
		return theirs.digest == ours.digest && (sameTag || theirs.tag == "")
	}
	return sameTag
}

// digits are the checksum that Zarf adds to a tag, of the image's name, which keeps images apart whose repositories come to be
// the same (src/pkg/transform).
var digits = regexp.MustCompile(`^[0-9]{1,10}$`)

// split is an image's name, taken apart. Unlike an imageconfig.Reference it has the tag as well as a digest.
type split struct{ repository, tag, digest string }

func splitReference(image string) (split, bool) {
	name, digest, pinned := strings.Cut(image, "@")
	whole, err := imageconfig.ParseReference(image)
	if err != nil {
		return split{}, false
	}
	parts := split{repository: whole.Name(), tag: whole.Tag, digest: digest}
	if pinned {
		parts.tag = ""
		if _, tag, ok := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); ok {
			parts.tag = tag
		}
	}
	return parts, true
}
