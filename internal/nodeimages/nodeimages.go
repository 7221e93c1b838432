// Package nodeimages knows which images nodes hold under which tags, as they report it (Node.status.images).
//
// A node that holds an image under a tag runs that one, unless imagePullPolicy is Always: it does not ask the registry what
// the tag stands for by now. So a command that was looked up may be put before another image's program.
//
// What is reported is not all: a kubelet names the 50 largest images (nodeStatusMaxImages), with at most five names each,
// first their digests and then their tags (pkg/kubelet/nodestatus, Images). A tag that is there has all its digests before it.
package nodeimages

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// maxImages bounds what is kept of one node, in images under a tag: twice what a kubelet reports by default.
	maxImages = 100
	// maxDigests of one image are as many as a kubelet reports with a tag.
	maxDigests = 4
	// maxHeld bounds what is known of all nodes, in different images under a tag. Each takes about 200 bytes. What comes
	// above that is not known.
	maxHeld = 1 << 16
)

// seed keeps a user that chooses names from choosing two that are taken for one.
var seed = maphash.MakeSeed()

// sum stands for a name or a digest. Names themselves would take ten times as much memory.
type sum [8]byte

func sumOf(text string) (s sum) {
	binary.LittleEndian.PutUint64(s[:], maphash.String(seed, text))
	return s
}

// packed marks what Pack returns.
const packed = "\x00podinit"

// Pack is what is kept of a node's images: one entry that only this package can read, of 17 bytes for each usual image; none
// of a node that new Pods hardly come to, since it is cordoned or silent, or not for Linux. Packing twice changes nothing.
func Pack(node *corev1.Node) []corev1.ContainerImage {
	images := node.Status.Images
	if len(images) == 1 && len(images[0].Names) == 2 && images[0].Names[0] == packed {
		return images
	}
	if node.Spec.Unschedulable || node.Status.NodeInfo.OperatingSystem == "windows" || slices.ContainsFunc(node.Status.Conditions, silent) {
		return nil
	}
	var b strings.Builder
	kept := 0
	for _, image := range images {
		for i, name := range image.Names {
			repository, tagged := repositoryOf(name)
			if !tagged || kept == maxImages {
				continue
			}
			var digests []sum
			for _, other := range image.Names[:i] {
				named, digest, ok := strings.Cut(other, "@")
				if before, _ := repositoryOf(named); ok && before == repository && len(digests) < maxDigests {
					digests = append(digests, sumOf(digest))
				}
			}
			if len(digests) == 0 {
				continue // imported, or built there: nothing says what it is
			}
			kept++
			slices.SortFunc(digests, func(a, b sum) int { return strings.Compare(string(a[:]), string(b[:])) })
			tag := sumOf(normalized(name))
			b.Write(tag[:])
			b.WriteByte(byte(len(digests)))
			for _, digest := range digests {
				b.Write(digest[:])
			}
		}
	}
	if kept == 0 {
		return nil
	}
	return []corev1.ContainerImage{{Names: []string{packed, b.String()}}}
}

func silent(c corev1.NodeCondition) bool {
	return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
}

// repositoryOf is the name without its tag, and whether it has one and no digest.
func repositoryOf(name string) (repository string, tagged bool) {
	if strings.Contains(name, "@") {
		return "", false
	}
	name = normalized(name)
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], true
	}
	return name, false
}

// normalized is a name with its registry. Docker names images of Docker Hub without (cri-dockerd).
func normalized(name string) string {
	first, _, below := strings.Cut(name, "/")
	switch {
	case !below:
		return "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + name
	}
	return name
}

// Index knows what all nodes hold. Its zero value knows nothing. It may be used by many at once.
type Index struct {
	mu    sync.RWMutex
	nodes map[string]string // what Pack has kept of each
	tags  map[sum][]held
	held  int
}

// held is one image under a tag, and how many nodes hold it.
type held struct {
	digests string // the sums, one after the other
	nodes   int
}

// Set says what a node holds, as Pack returns it.
func (x *Index) Set(node string, images []corev1.ContainerImage) {
	now := ""
	if len(images) == 1 && len(images[0].Names) == 2 && images[0].Names[0] == packed {
		now = images[0].Names[1]
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.nodes[node]
	if before == now {
		return
	}
	x.count(before, -1)
	x.count(now, 1)
	if now == "" {
		delete(x.nodes, node)
		return
	}
	if x.nodes == nil {
		x.nodes = map[string]string{}
	}
	x.nodes[node] = now
}

// Remove forgets a node.
func (x *Index) Remove(node string) { x.Set(node, nil) }

// count adds what one node holds, or takes it away. The lock is held.
func (x *Index) count(images string, by int) {
	for len(images) > 0 {
		tag, n := sum([]byte(images[:8])), int(images[8])
		digests := images[9 : 9+8*n]
		images = images[9+8*n:]
		all := x.tags[tag]
		switch i := slices.IndexFunc(all, func(h held) bool { return h.digests == digests }); {
		case i >= 0 && all[i].nodes+by > 0:
			all[i].nodes += by
		case i >= 0:
			x.held--
			if all = slices.Delete(all, i, i+1); len(all) == 0 {
				delete(x.tags, tag)
			} else {
				x.tags[tag] = all
			}
		case by > 0 && x.held < maxHeld:
			x.held++
			if x.tags == nil {
				x.tags = map[sum][]held{}
			}
			x.tags[tag] = append(all, held{strings.Clone(digests), by})
		}
	}
}

// Differ says whether a node is known to hold another image under a tag than the one with this digest, of its index if it
// has one. What nodes do not report, and what they report without digests, is not known, so false says nothing.
func (x *Index) Differ(ref imageconfig.Reference, digest string) bool {
	if ref.Pinned() || digest == "" {
		return false
	}
	registry := ref.Registry
	if registry == "index.docker.io" {
		registry = "docker.io"
	}
	tag, want := sumOf(registry+"/"+ref.Repository+":"+ref.Tag), sumOf(digest)
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.ContainsFunc(x.tags[tag], func(h held) bool {
		for at := 0; at < len(h.digests); at += len(want) {
			if h.digests[at:at+len(want)] == string(want[:]) {
				return false
			}
		}
		return true
	})
}
