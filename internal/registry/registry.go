// Package registry asks container registries what an image runs, with the credentials that a Pod's node would have.
//
// Whoever may create a Pod chooses whom it asks, and what answers is whatever listens there. So addresses are checked
// when they are connected to, answers are bounded, and no error repeats what an answer says.
package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/fair"
	"github.com/podinit/podinit/internal/imageconfig"
)

// SecretReader reads one Secret, from the apiserver each time. It needs the right to get Secrets and no other.
type SecretReader func(ctx context.Context, namespace, name string) (*corev1.Secret, error)

const (
	// maxPullSecrets bounds how many Secrets are read for one Pod.
	maxPullSecrets = 16
	// maxPodSecrets bounds what they may hold together, in bytes: as much as one Secret can.
	maxPodSecrets = 1 << 20
	// maxSecrets bounds what is held of the Secrets of all Pods that are decided about, in bytes. While those of a Pod are
	// read readingSecrets counts, and afterwards what they hold.
	maxSecrets     = 16 << 20
	readingSecrets = 2 << 20
)

// Registries are all registries, as a Config describes them.
type Registries struct {
	// Keychain is asked too, whatever the namespace: it belongs to the user that runs this on their own machine. Nil on a
	// server.
	Keychain authn.Keychain
	// Log gets a line, once, for each part of the hosts directory that cannot be used.
	Log logr.Logger

	config   Config
	secrets  SecretReader
	sources  []source
	breakers *breakers
	// room for answers that are read, in bytes by namespace
	room *fair.Pool
	// secrets in memory, in bytes by namespace
	held *fair.Pool
	now  func() time.Time

	guards   map[string]*guarded // by Host.Host; "" for all that have none
	networks map[string][]netip.Prefix
	proxy    func(*http.Request) (*url.URL, error)

	handshakes *handshakes

	mu     sync.Mutex
	routes map[string]*route // by registry
	pool   []*guarded        // of the hosts directory, by kind of TLS
	logged map[string]string // what is wrong with the hosts directory, by the directory's name
}

var _ imageconfig.Registry = (*Registries)(nil)

// New makes Registries. Without secrets, the Pods' own credentials are not used.
func New(config Config, secrets SecretReader, now func() time.Time) (*Registries, error) {
	r := &Registries{
		config: config, secrets: secrets, now: now, breakers: &breakers{now: now},
		room: fair.New(maxAtOnce), held: fair.New(maxSecrets), guards: map[string]*guarded{},
		proxy: http.ProxyFromEnvironment, handshakes: &handshakes{now: now}, routes: map[string]*route{}, logged: map[string]string{},
	}
	var err error
	if r.networks, err = config.networks(); err != nil {
		return nil, err
	}
	if r.sources, err = config.Credentials.sources(newPrograms(config.Credentials.ProgramDirectory, now)); err != nil {
		return nil, err
	}
	for _, host := range append(slices.Clip(config.Registries), Host{}) {
		if r.guards[host.Host] != nil {
			continue // the first counts
		}
		kind, err := host.tls()
		if err != nil {
			return nil, err
		}
		r.guards[host.Host] = newGuarded(kind, config.of, r.networks, r.proxy)
	}
	return r, nil
}

// credential is a login, and the host that it is for; empty if it goes to each host of the route, as on nodes.
type credential struct {
	login login
	host  string
	// own is set for what is not the Pod's: no host that the route does not have gets to see it.
	own bool
}

// Candidates are the Pod's own credentials as the kubelet matches them with the image's name, podinit's where they serve
// the namespace, and anonymous access; with each of them the hosts of the image's registry in the order in which the node asks.
func (r *Registries) Candidates(ctx context.Context, q imageconfig.Query) iter.Seq2[imageconfig.Candidate, error] {
	return func(yield func(imageconfig.Candidate, error) bool) {
		if host, _ := r.config.of(q.Reference.Registry); host.Lookup != nil && !*host.Lookup {
			yield(imageconfig.Candidate{}, &imageconfig.Failure{
				Reason: v1alpha1.ReasonLookupOff, Registry: dockerHub(q.Reference.Registry), Err: errors.New("lookup is off"),
			})
			return
		}
		named, err := name.NewRepository(q.Reference.Name(), name.StrictValidation)
		if err == nil { // nodes are stricter, and a repository with ".." in it would lead out of the registry's API
			_, err = reference.ParseNormalizedNamed(q.Reference.Name())
		}
		if err != nil {
			yield(imageconfig.Candidate{}, &imageconfig.Failure{Reason: v1alpha1.ReasonInvalidImage, Registry: q.Reference.Registry, Err: err})
			return
		}
		route := r.routeOf(ctx, containerdName(q.Reference.Registry))
		hosts := route.able(q.Reference)
		switch {
		case route.failure != nil:
			yield(imageconfig.Candidate{}, &imageconfig.Failure{
				Reason: v1alpha1.ReasonLookupFailed, Registry: dockerHub(q.Reference.Registry), Transient: true, Err: route.failure,
			})
			return
		case len(hosts) == 0:
			yield(imageconfig.Candidate{}, &imageconfig.Failure{
				Reason: v1alpha1.ReasonLookupFailed, Registry: dockerHub(q.Reference.Registry), Transient: true,
				Err: errors.New("the hosts directory has no host that resolves tags"),
			})
			return
		case route.problem != nil && !yield(imageconfig.Candidate{}, route.problem):
			return
		}
		secrets, problems, done := r.pullSecrets(ctx, q)
		defer done()
		for _, problem := range problems {
			if !yield(imageconfig.Candidate{}, problem) {
				return
			}
		}
		tried := map[string]bool{}
		for c, err := range r.credentials(ctx, q, named, hosts, secrets) {
			if err != nil {
				if !yield(imageconfig.Candidate{}, err) {
					return
				}
				continue
			}
			as := c.login.fingerprint()
			for _, host := range hosts {
				if c.host != "" && c.host != host.Host {
					continue
				}
				candidate := r.candidate(q, route, host, c, as)
				if tried[candidate.Key] {
					continue
				}
				tried[candidate.Key] = true
				if !yield(candidate, nil) {
					return
				}
			}
		}
	}
}

// able are the hosts that are asked what a reference stands for.
func (r *route) able(ref imageconfig.Reference) []docker.RegistryHost {
	needed := docker.HostCapabilityPull
	if !ref.Pinned() {
		needed |= docker.HostCapabilityResolve
	}
	unable := func(host docker.RegistryHost) bool { return !host.Capabilities.Has(needed) }
	if !slices.ContainsFunc(r.hosts, unable) {
		return r.hosts
	}
	return slices.DeleteFunc(slices.Clone(r.hosts), unable)
}

// candidate is one host of a route, asked as one login, whose fingerprint is as.
func (r *Registries) candidate(q imageconfig.Query, at *route, host docker.RegistryHost, c credential, as string) imageconfig.Candidate {
	registry, of, namespace := containerdName(q.Reference.Registry), q.Reference.Repository, q.Namespace
	endpoint := endpointOf(host, registry, of)
	key := endpoint + " as " + as
	return imageconfig.Candidate{Host: host.Host, Endpoint: endpoint, Key: key, Anonymous: c.login.empty(), Repository: &repository{
		name: registry + "/" + of, at: host, named: at.named, login: c.login,
		prepare: func() (own docker.RegistryHost, others []docker.RegistryHost) {
			for _, other := range at.hosts {
				place := endpointOf(other, registry, of)
				user := namespace + " " + as + " "
				other.Authorizer = &authorizer{
					shared: r.handshakes, key: user + place, hostKey: user + endpointOf(other, registry, ""), host: other.Host,
					scope: "repository:" + of + ":pull", login: c.login, own: c.own, client: other.Client, header: other.Header,
				}
				if place == endpoint {
					own = other
				} else if other.Capabilities.Has(docker.HostCapabilityPull) {
					others = append(others, other)
				}
			}
			return own, others
		},
		breakers: r.breakers, room: r.room, key: namespace + " " + key, namespace: namespace, now: r.now,
	}}
}

// endpointOf tells a repository at a host from every other, also from one of the same name that the host keeps for another
// registry.
func endpointOf(host docker.RegistryHost, registry, repository string) string {
	at := host.Scheme + "://" + host.Host + path.Join("/", host.Path, repository)
	if host.Host != registry {
		at += "?ns=" + registry
	}
	return at
}

// containerdName is a registry as containerd names it.
func containerdName(registry string) string {
	if registry == "localhost:443" { // see imageconfig.ParseReference
		return "localhost"
	}
	return dockerHub(registry)
}

// place is a repository as docker configs name it.
func place(named name.Repository) string {
	return dockerHub(named.RegistryStr()) + "/" + named.RepositoryStr()
}

// credentials for an image, in order. Breaking out of the loop early avoids running the remaining programs.
//
// Nodes may also have credentials for a mirror by its own name (containerd's registry.configs, k3s' registries.yaml): so
// podinit's own, and a keychain, are searched for each host besides.
func (r *Registries) credentials(ctx context.Context, q imageconfig.Query, named name.Repository, hosts []docker.RegistryHost, secrets keyring) iter.Seq2[credential, error] {
	return func(yield func(credential, error) bool) {
		found, err := secrets.find(ctx, place(named))
		if err != nil {
			yield(credential{}, transient(err))
			return
		}
		for _, l := range found {
			if !yield(credential{login: l}, nil) {
				return
			}
		}
		type search struct {
			named name.Repository
			host  string
		}
		searches := []search{{named: named}}
		for _, host := range hosts {
			if registryAt(host.Host) == dockerHub(named.RegistryStr()) {
				continue
			}
			below := strings.TrimPrefix(strings.TrimPrefix(host.Path, "/v2"), "/")
			if at, err := name.NewRepository(host.Host+"/"+path.Join(below, named.RepositoryStr()), name.StrictValidation); err == nil {
				searches = append(searches, search{at, host.Host})
			}
		}
		for _, s := range searches {
			if r.config.Credentials.serves(q.Namespace) {
				for l, err := range r.own(ctx, q.Namespace, s.named) {
					if !yield(credential{l, s.host, true}, err) {
						return
					}
				}
			}
			if r.Keychain != nil {
				l, err := r.local(ctx, s.named)
				if (err != nil || !l.empty()) && !yield(credential{l, s.host, true}, err) {
					return
				}
			}
		}
		yield(credential{}, nil)
	}
}

// local is what the Keychain has for a repository; anonymous access if it has nothing.
func (r *Registries) local(ctx context.Context, named name.Repository) (login, error) {
	found, err := authn.Resolve(ctx, r.Keychain, named)
	if err == nil {
		var config *authn.AuthConfig
		if config, err = authn.Authorization(ctx, found); err == nil {
			return login(*config), nil
		}
	}
	return login{}, transient(fmt.Errorf("looking for a credential for %s: %w", place(named), err))
}

// own are the logins that the webhook itself has for a repository.
func (r *Registries) own(ctx context.Context, namespace string, named name.Repository) iter.Seq2[login, error] {
	return func(yield func(login, error) bool) {
		for _, source := range r.sources {
			for auths, err := range source(ctx, namespace, named) {
				var ring keyring
				problem := ring.add(auths)
				found, findErr := ring.find(ctx, place(named))
				for _, l := range found {
					if !yield(l, nil) {
						return
					}
				}
				if err = errors.Join(err, problem, findErr); err != nil && !yield(login{}, transient(err)) {
					return
				}
			}
		}
	}
}

// transient is err as one that the Pod's author cannot correct: a credential that he is not to blame for is missing.
func transient(err error) error {
	return &imageconfig.Failure{Reason: v1alpha1.ReasonLookupFailed, Transient: true, Err: err}
}

// pullSecrets are the logins in the Pod's imagePullSecrets, which are read once for all its Queries. What cannot be used
// is left out, as the kubelet does, and why is for the log alone. They are held until done is called.
func (r *Registries) pullSecrets(ctx context.Context, q imageconfig.Query) (ring keyring, problems []error, done func()) {
	nothing := func() {}
	if r.secrets == nil || len(q.PullSecrets) == 0 {
		return ring, nil, nothing
	}
	if q.Pod == nil {
		return r.readPullSecrets(ctx, q)
	}
	type credentials struct {
		ring     keyring
		problems []error
	}
	shared, err := q.Pod.Once(ctx, func() (any, func()) {
		ring, problems, done := r.readPullSecrets(ctx, q)
		return credentials{ring, problems}, done
	})
	if err != nil {
		return ring, []error{transient(fmt.Errorf("reading secrets: %w", err))}, nothing
	}
	found := shared.(credentials)
	return found.ring, found.problems, nothing
}

func (r *Registries) readPullSecrets(ctx context.Context, q imageconfig.Query) (ring keyring, problems []error, done func()) {
	if err := r.held.Acquire(ctx, q.Namespace, readingSecrets); err != nil {
		return ring, []error{transient(fmt.Errorf("reading secrets: too many of this namespace are read at once: %w", err))}, func() {}
	}
	size := 0
	defer func() {
		r.held.Release(q.Namespace, int64(readingSecrets-size))
		done = func() { r.held.Release(q.Namespace, int64(size)) }
	}()
	private := func(format string, args ...any) {
		problems = append(problems, imageconfig.Private{Err: fmt.Errorf(format, args...)})
	}
	unread, named := 0, 0
	for i, secretName := range q.PullSecrets {
		if i == maxPullSecrets {
			problems = append(problems, fmt.Errorf("the pod names more than %d imagePullSecrets", maxPullSecrets))
			break
		}
		secret, err := r.secrets(ctx, q.Namespace, secretName)
		if err != nil {
			if !apierrors.IsNotFound(err) {
				err = transient(err)
			}
			private("reading secret %s: %w", secretName, err)
			continue
		}
		text, legacy := secret.Data[corev1.DockerConfigJsonKey], false
		switch secret.Type {
		case corev1.SecretTypeDockerConfigJson:
		case corev1.SecretTypeDockercfg:
			text, legacy = secret.Data[corev1.DockerConfigKey], true
		default:
			private("secret %s is of type %s, which is not for images", secretName, secret.Type)
			continue
		}
		if size+len(text) > maxPodSecrets {
			private("reading secret %s: the pod's imagePullSecrets hold more than %d KiB", secretName, maxPodSecrets>>10)
			continue
		}
		size += len(text)
		config, err := parseDockerConfig(text, legacy)
		if err != nil {
			private("reading secret %s: %w", secretName, err)
			continue
		}
		unread += config.unread
		for _, problem := range config.problems[:min(len(config.problems), maxProblems-named)] {
			named++
			private("reading secret %s: %w", secretName, problem)
		}
		if err := ring.add(config.auths); err != nil {
			private("reading secret %s: %w", secretName, err)
		}
	}
	if unread > named {
		private("and %d more entries of the pod's imagePullSecrets cannot be read", unread-named)
	}
	return ring, problems, done
}
