package registry

import (
	"bytes"
	"context"
	_ "crypto/sha512" // a digest may be of it
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/fair"
	"github.com/podinit/podinit/internal/imageconfig"
)

// repository is an imageconfig.Repository: one repository at one host of its route, seen with one login. containerd's
// resolver asks, as it does on nodes.
type repository struct {
	// name of the repository as containerd has it, with the image's registry.
	name string
	// at is the host that is asked. prepare makes it ready, and the others of the route, which may have what the host only
	// knows the digest of.
	at      docker.RegistryHost
	prepare func() (host docker.RegistryHost, others []docker.RegistryHost)
	host    docker.RegistryHost
	others  []docker.RegistryHost
	// named are hosts of the route (see route.named).
	named    map[string]bool
	login    login
	breakers *breakers
	// room for answers that are read.
	room *fair.Pool
	// key tells the repository, with the user and the namespace that it is seen by, from every other.
	key string
	// namespace out of whose share of slots and bytes it is asked.
	namespace string
	now       func() time.Time

	// proven is the digest that the host has named.
	proven string
}

// silent keeps what containerd logs of each request out of our log.
var silent = func() *log.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(logger)
}()

// resolver is containerd's for some hosts.
func resolver(hosts ...docker.RegistryHost) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   func(string) ([]docker.RegistryHost, error) { return hosts, nil },
		Headers: http.Header{"User-Agent": {"podinit"}},
	})
}

// Digest asks with HEAD, which registries do not bill. Where that gives no digest, the manifest itself does.
func (r *repository) Digest(ctx context.Context, ref imageconfig.Reference) (found string, err error) {
	name := r.name + ":" + ref.Tag
	if ref.Digest != "" {
		name = r.name + "@" + ref.Digest
	}
	err = r.guarded(ctx, func(ctx context.Context) error {
		_, desc, err := resolver(r.host).Resolve(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case desc.MediaType == images.MediaTypeDockerSchema1Manifest:
			return errSchema1
		case desc.Size > maxManifest:
			return errTooLarge
		}
		found = desc.Digest.String()
		r.proven = found
		return nil
	})
	return found, err
}

// Image reads a manifest, and the configs that it or its parts point to.
func (r *repository) Image(ctx context.Context, found string, architectures []string) (image imageconfig.Image, err error) {
	err = r.guarded(ctx, func(ctx context.Context) error {
		hosts := []docker.RegistryHost{r.host}
		if r.proven == found {
			hosts = append(hosts, r.others...) // as containerd does: what a digest is of is the same everywhere
		}
		fetcher, err := resolver(hosts...).Fetcher(ctx, r.name+"@"+found)
		if err != nil {
			return err
		}
		tree := &tree{fetcher: fetcher, room: r.room, namespace: r.namespace, read: map[digest.Digest]*part{}}
		image.Configs, err = tree.configs(ctx, ocispec.Descriptor{Digest: digest.Digest(found)}, architectures)
		return err
	})
	if err != nil {
		return imageconfig.Image{}, err
	}
	image.Digest = found
	return image, nil
}

// tree is an image, of which each manifest is read once.
type tree struct {
	fetcher remotes.Fetcher
	// room that an answer takes while it is read, out of the namespace's share.
	room      *fair.Pool
	namespace string
	read      map[digest.Digest]*part
	// size of what was read and is kept, in bytes.
	size int
}

// part is one manifest: an index, or the config of an image.
type part struct {
	index  *ocispec.Index
	config imageconfig.Config
	// artifact is set if its config is that of something else; it says of what.
	artifact string
}

// size is what a part takes in memory, in bytes.
func (p *part) size() int {
	n := p.config.Size() + len(p.artifact)
	if p.index != nil {
		for _, d := range p.index.Manifests {
			n += descriptorOverhead + len(d.MediaType) + len(d.Digest)
			if d.Platform != nil {
				n += len(d.Platform.OS) + len(d.Platform.Architecture) + len(d.Platform.Variant)
			}
		}
	}
	return n
}

// configs are what nodes of these architectures run, or of all if there are none. The Platform of each is the node's.
func (t *tree) configs(ctx context.Context, root ocispec.Descriptor, architectures []string) ([]imageconfig.Config, error) {
	top, err := t.part(ctx, root)
	switch {
	case err != nil:
		return nil, err
	case top.artifact != "":
		return nil, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupUnsupported, Err: fmt.Errorf("its config has type %.100q, which is not an image's", top.artifact)}
	case top.index == nil:
		return []imageconfig.Config{top.config}, nil
	}
	all := others(*top.index)
	linux := 0
	for _, node := range nodePlatforms(*top.index, architectures) {
		config, ok, err := t.on(ctx, top, platforms.Only(node))
		if err != nil {
			return nil, fmt.Errorf("reading the part for %s: %w", platforms.Format(node), err)
		}
		if !ok {
			continue
		}
		if linux++; linux > maxPlatforms {
			return nil, errTooLarge
		}
		config.Platform = imageconfig.Platform{OS: node.OS, Architecture: node.Architecture, Variant: node.Variant}
		if node.Variant != "" && len(all) > 0 { // the lowest that runs it stands for those above
			if last := all[len(all)-1]; last.Platform.Architecture == node.Architecture && sameConfig(last, config) {
				continue
			}
		}
		all = append(all, config)
	}
	return all, nil
}

// sameConfig says whether two configs are the same but for the platform.
func sameConfig(a, b imageconfig.Config) bool {
	a.Platform = b.Platform
	return reflect.DeepEqual(a, b)
}

// on is what one kind of node runs of an index; not ok if that is nothing.
func (t *tree) on(ctx context.Context, at *part, node platforms.MatchComparer) (imageconfig.Config, bool, error) {
	for range maxDepth {
		chosen, ok := pick(*at.index, node)
		if !ok || !images.IsManifestType(chosen.MediaType) && !images.IsIndexType(chosen.MediaType) {
			return imageconfig.Config{}, false, nil // containerd finds nothing either
		}
		next, err := t.part(ctx, chosen)
		switch {
		case err != nil:
			return imageconfig.Config{}, false, err
		case next.index != nil:
			at = next
			continue
		case next.artifact != "":
			return imageconfig.Config{}, false, nil
		case chosen.Platform == nil:
			p := next.config.Platform
			if !node.Match(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}) {
				return imageconfig.Config{}, false, nil
			}
		}
		return next.config, true, nil
	}
	return imageconfig.Config{}, false, errTooLarge
}

// part reads a manifest, and the config that it points to.
func (t *tree) part(ctx context.Context, desc ocispec.Descriptor) (*part, error) {
	if known, ok := t.read[desc.Digest]; ok {
		return known, nil
	}
	if len(t.read) > maxPlatforms+maxDepth {
		return nil, errTooLarge
	}
	// Of what kind it is, it says itself: at the top there is no descriptor, and registries made of files say it wrongly.
	text, err := t.fetch(ctx, ocispec.MediaTypeImageIndex, desc.Digest, maxManifest)
	if err != nil {
		return nil, err
	}
	found, config, err := parseManifest(text)
	if err != nil {
		return nil, err
	}
	if config != nil {
		if config.Size > maxConfigBlob {
			return nil, errTooLarge
		}
		raw, err := t.fetch(ctx, config.MediaType, config.Digest, config.Size)
		if err != nil {
			return nil, err
		}
		if found.config, err = imageconfig.Parse(raw); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotImage, err)
		}
	}
	if t.size += found.size(); t.size > maxTree {
		return nil, errTooLarge
	}
	t.read[desc.Digest] = found
	return found, nil
}

// parseManifest reads a manifest: an index, or an image with the config that is to be read.
func parseManifest(text []byte) (*part, *ocispec.Descriptor, error) {
	type descriptor struct { // what is read of it: annotations and data may be large
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
		Platform  *platform     `json:"platform"`
	}
	var file struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
		Config        *descriptor  `json:"config"`
		FSLayers      []struct{}   `json:"fsLayers"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, nil, err
	}
	index, image := images.IsIndexType(file.MediaType), images.IsManifestType(file.MediaType)
	if file.MediaType == "" { // OCI allows it
		index, image = file.Manifests != nil, file.Config != nil
	}
	switch {
	case file.SchemaVersion == 1 || file.FSLayers != nil || file.MediaType == images.MediaTypeDockerSchema1Manifest:
		return nil, nil, errSchema1
	case len(file.Manifests) > maxParts:
		return nil, nil, errTooLarge
	case index && !image && file.Config == nil: // both would be one for us and the other for the node (CVE-2021-41190)
		found := &ocispec.Index{}
		for _, d := range file.Manifests {
			if !d.Platform.tooLong() {
				found.Manifests = append(found.Manifests, ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform.kept()})
			}
		}
		return &part{index: found}, nil, nil
	case image && !index && file.Manifests == nil && file.Config != nil:
		switch file.Config.MediaType {
		// What containerd unpacks. Some registries and builders have it wrong (distribution#1622), and runtimes take it.
		case ocispec.MediaTypeImageConfig, images.MediaTypeDockerSchema2Config, docker.LegacyConfigMediaType, "":
			return &part{}, &ocispec.Descriptor{MediaType: file.Config.MediaType, Digest: file.Config.Digest, Size: file.Config.Size}, nil
		}
		return &part{artifact: file.Config.MediaType}, nil, nil
	}
	return nil, nil, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupInvalid, Err: fmt.Errorf("its media type is %.100q, which is not a manifest's", file.MediaType)}
}

// fetch reads what has a digest, of at most size bytes. The media type decides where containerd asks for it.
func (t *tree) fetch(ctx context.Context, mediaType string, wanted digest.Digest, size int64) ([]byte, error) {
	if err := wanted.Validate(); err != nil {
		return nil, err
	}
	// Neither URLs nor annotations of the descriptor: containerd would follow them with a client without guards.
	body, err := t.fetcher.Fetch(ctx, ocispec.Descriptor{MediaType: mediaType, Digest: wanted, Size: size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var text bytes.Buffer
	n, err := io.Copy(&text, io.LimitReader(body, smallBody))
	if err == nil && n == smallBody {
		// There is room for all of it, or it waits without any: answers that each have some of it would wait for each other.
		// The room is held until the end, also where containerd goes on with another request after one that has broken off.
		if err := imageconfig.Turn(ctx, func(rank func() fair.Rank) error { return t.room.AcquireRanked(ctx, t.namespace, size, rank) }); err != nil {
			return nil, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: errNoRoom}
		}
		defer t.room.Release(t.namespace, size)
		_, err = text.ReadFrom(body)
	}
	if err != nil {
		if errdefs.IsFailedPrecondition(err) && size < maxManifest { // it goes on behind its end
			return nil, errOtherContent
		}
		return nil, err
	}
	if wanted.Algorithm().FromBytes(text.Bytes()) != wanted {
		return nil, errOtherContent
	}
	return text.Bytes(), nil
}

// guarded does something at the registry, unless it is known to be down.
func (r *repository) guarded(ctx context.Context, do func(context.Context) error) error {
	host := r.at.Host
	visit, err := r.breakers.enter(host, r.key, r.namespace)
	if err != nil {
		return failureOf(err)
	}
	defer visit.leave()

	if r.host.Authorizer == nil {
		r.host, r.others = r.prepare()
	}
	seen := &observed{now: r.now, host: host, named: r.named, visit: visit}
	ctx = log.WithLogger(context.WithValue(ctx, observedKey{}, seen), silent)
	err = do(ctx)
	if err == nil {
		visit.hostAnswered()
		visit.repositoryAnswered()
		return nil
	}
	failure := *failureOf(&asked{err, seen.last.Load()})
	failure.Registry, failure.RetryAfter = registryAt(host), time.Duration(seen.after.Load())
	if seen.unsent.Load() || errors.Is(err, errNoRoom) {
		return &failure
	}
	transient, ofHost := down(&failure), seen.hostFailed.Load()
	failure.Personal = !r.login.empty() && !ofHost && (isHandshake(err) || transient && seen.answered.Load())
	switch {
	case transient && ofHost:
		visit.hostFailed(failure.Reason)
	case seen.answered.Load():
		visit.hostAnswered()
	}
	switch {
	case !transient:
		visit.repositoryAnswered()
	case !ofHost:
		visit.repositoryFailed(failure.Reason)
	}
	return &failure
}

// asked is an error with the last answer that there was, which may be nil.
type asked struct {
	err  error
	last *reply
}

func (a *asked) Error() string { return a.err.Error() }
func (a *asked) Unwrap() error { return a.err }

// down says whether a failure is a transient error of the host or of the repository: asking again soon is of no use.
func down(f *imageconfig.Failure) bool {
	switch f.Reason {
	case v1alpha1.ReasonLookupTimeout, v1alpha1.ReasonLookupUnreachable, v1alpha1.ReasonLookupTLS, v1alpha1.ReasonLookupPlainHTTP:
		return true
	}
	return f.Reason == v1alpha1.ReasonLookupFailed
}

var (
	errSchema1      = errors.New("Docker's manifests of schema 1 have no image config")
	errNotImage     = errors.New("its image config cannot be used: it is not JSON, or its command has more than 128 KiB")
	errOtherContent = errors.New("the content does not match the digest")
	errNoRoom       = errors.New("too many large answers for this namespace are read at once")
)
