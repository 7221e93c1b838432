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
	"slices"
	"time"

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
	// Keychain is asked besides, whatever the namespace: it belongs to whoever runs this on their own machine. Nil on a
	// server.
	Keychain authn.Keychain

	config   Config
	secrets  SecretReader
	programs *programs
	breakers *breakers
	room     *fair.Pool
	// secrets in memory, in bytes by namespace
	held *fair.Pool
	now  func() time.Time

	guards map[string]*guarded // by Host.Host; "" for all that have none
}

var _ imageconfig.Registry = (*Registries)(nil)

// New makes Registries. Without secrets, the Pods' own credentials are not used.
func New(config Config, secrets SecretReader, now func() time.Time) (*Registries, error) {
	r := &Registries{
		config: config, secrets: secrets, now: now, breakers: &breakers{now: now},
		programs: newPrograms(config.Credentials.ProgramDirectory, now),
		room:     fair.New(maxAtOnce), held: fair.New(maxSecrets), guards: map[string]*guarded{},
	}
	networks, err := config.networks()
	if err != nil {
		return nil, err
	}
	if file := config.Credentials.ProviderConfigFile; file != "" {
		text, err := readFile(file)
		if err == nil {
			r.programs.providers, err = parseProviders(text)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the credential providers in %s: %w", file, err)
		}
	}
	for _, host := range append(slices.Clip(config.Registries), Host{}) {
		if r.guards[host.Host] != nil {
			continue // the first counts
		}
		if r.guards[host.Host], err = newGuarded(host, config.of, networks, http.ProxyFromEnvironment, r.room); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// endpoint is where a repository can be read: its registry, or a mirror of that.
type endpoint struct {
	name name.Repository
	via  *guarded
}

// place is the endpoint as docker configs name it.
func (e endpoint) place() string {
	return dockerHub(e.name.RegistryStr()) + "/" + e.name.RepositoryStr()
}

// Candidates are, for each mirror and then the registry itself: the Pod's own credentials as the kubelet matches them,
// podinit's where they serve the namespace, and nobody's.
func (r *Registries) Candidates(ctx context.Context, q imageconfig.Query) iter.Seq2[imageconfig.Candidate, error] {
	return func(yield func(imageconfig.Candidate, error) bool) {
		endpoints, err := r.endpoints(q.Reference)
		if err != nil {
			yield(imageconfig.Candidate{}, err)
			return
		}
		secrets, problems, done := r.pullSecrets(ctx, q)
		defer done()
		for _, problem := range problems {
			if !yield(imageconfig.Candidate{}, problem) {
				return
			}
		}
		for _, e := range endpoints {
			tried := map[string]bool{}
			for login, err := range r.logins(ctx, q, e, secrets) {
				if err != nil {
					if !yield(imageconfig.Candidate{}, err) {
						return
					}
					continue
				}
				key := e.place() + " as " + login.fingerprint()
				if tried[key] {
					continue
				}
				tried[key] = true
				if !yield(imageconfig.Candidate{
					Host: e.name.RegistryStr(), Endpoint: e.place(), Key: key, Anonymous: login.empty(),
					Repository: &repository{name: e.name, login: login, transport: e.via, breakers: r.breakers, key: q.Namespace + " " + key, namespace: q.Namespace, now: r.now},
				}, nil) {
					return
				}
			}
		}
	}
}

// endpoints of an image, in the order in which they are asked.
func (r *Registries) endpoints(ref imageconfig.Reference) ([]endpoint, error) {
	host, _ := r.config.of(ref.Registry)
	if host.Lookup != nil && !*host.Lookup {
		return nil, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupOff, Registry: dockerHub(ref.Registry), Err: errors.New("lookup is off")}
	}
	var endpoints []endpoint
	for _, at := range append(host.Mirrors, ref.Registry) {
		e, err := r.endpoint(at, ref.Repository)
		if err != nil {
			return nil, &imageconfig.Failure{Reason: v1alpha1.ReasonInvalidImage, Registry: at, Err: err}
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

func (r *Registries) endpoint(at, repository string) (endpoint, error) {
	named, err := name.NewRepository(at+"/"+repository, name.StrictValidation)
	if err != nil {
		return endpoint{}, err
	}
	host, _ := r.config.of(named.RegistryStr())
	return endpoint{named, r.guards[host.Host]}, nil
}

// logins for an endpoint, in order. Whoever stops asking keeps programs from being run.
func (r *Registries) logins(ctx context.Context, q imageconfig.Query, e endpoint, secrets keyring) iter.Seq2[login, error] {
	return func(yield func(login, error) bool) {
		found, err := secrets.find(ctx, e.place())
		if err != nil {
			yield(login{}, transient(err))
			return
		}
		for _, l := range found {
			if !yield(l, nil) {
				return
			}
		}
		if r.config.Credentials.serves(q.Namespace) {
			for l, err := range r.own(ctx, q.Namespace, e) {
				if !yield(l, err) {
					return
				}
			}
		}
		if r.Keychain != nil {
			l, err := r.local(ctx, e)
			if (err != nil || !l.empty()) && !yield(l, err) {
				return
			}
		}
		yield(login{}, nil)
	}
}

// local is what the Keychain has for an endpoint; nobody's if it has nothing.
func (r *Registries) local(ctx context.Context, e endpoint) (login, error) {
	found, err := authn.Resolve(ctx, r.Keychain, e.name)
	if err == nil {
		var config *authn.AuthConfig
		if config, err = authn.Authorization(ctx, found); err == nil {
			return login(*config), nil
		}
	}
	return login{}, transient(fmt.Errorf("looking for a credential for %s: %w", e.place(), err))
}

// own are the logins that the webhook itself has for an endpoint.
func (r *Registries) own(ctx context.Context, namespace string, e endpoint) iter.Seq2[login, error] {
	return func(yield func(login, error) bool) {
		all := func(auths map[string]login, err error) bool {
			if err != nil {
				return yield(login{}, transient(err))
			}
			var ring keyring
			problem := ring.add(auths)
			found, err := ring.find(ctx, e.place())
			for _, l := range found {
				if !yield(l, nil) {
					return false
				}
			}
			if err = errors.Join(problem, err); err != nil {
				return yield(login{}, transient(err))
			}
			return true
		}
		if file := r.config.Credentials.DockerConfigFile; file != "" {
			config, err := readDockerConfig(file)
			if !all(config.auths, err) {
				return
			}
			if helper, server, ok := config.helper(dockerHub(e.name.RegistryStr())); ok && !all(r.programs.help(ctx, namespace, helper, server)) {
				return
			}
		}
		for _, p := range r.programs.providers {
			if p.serves(e.place()) && !all(r.programs.provide(ctx, namespace, p, e.place())) {
				return
			}
		}
	}
}

func readDockerConfig(file string) (dockerConfig, error) {
	text, err := readFile(file)
	if err != nil {
		return dockerConfig{}, fmt.Errorf("reading the docker config: %w", err)
	}
	config, err := parseDockerConfig(text, false)
	if err != nil {
		return dockerConfig{}, fmt.Errorf("reading the docker config %s: %w", file, err)
	}
	return config, nil
}

// helper is the docker-credential program for a host, and what the program calls it.
func (c dockerConfig) helper(host string) (helper, server string, ok bool) {
	servers := []string{host}
	if host == "docker.io" {
		servers = []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io"}
	}
	for _, server := range servers {
		if helper := c.credHelpers[server]; helper != "" {
			return helper, server, true
		}
	}
	return c.credsStore, servers[0], c.credsStore != ""
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
		for _, problem := range config.problems {
			private("reading secret %s: %w", secretName, problem)
		}
		if err := ring.add(config.auths); err != nil {
			private("reading secret %s: %w", secretName, err)
		}
	}
	return ring, problems, done
}
