package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/fair"
)

const (
	// programTime bounds one run of a program; the kubelet gives a minute.
	programTime = 30 * time.Second
	// helperTime is how long the answer of a docker-credential plugin counts, which does not say it.
	helperTime = 5 * time.Minute
	// maxProgramOutput bounds what a program may say, in bytes.
	maxProgramOutput = 1 << 20
)

// provider is one entry of a kubelet's CredentialProviderConfig.
type provider struct {
	Name                 string                         `json:"name"`
	MatchImages          []string                       `json:"matchImages"`
	DefaultCacheDuration *metav1.Duration               `json:"defaultCacheDuration"`
	APIVersion           string                         `json:"apiVersion"`
	Args                 []string                       `json:"args"`
	Env                  []struct{ Name, Value string } `json:"env"`
	TokenAttributes      json.RawMessage                `json:"tokenAttributes"`
}

func readProviders(file string) ([]provider, error) {
	text, err := readFile(file)
	var providers []provider
	if err == nil {
		providers, err = parseProviders(text)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the credential providers in %s: %w", file, err)
	}
	return providers, nil
}

// parseProviders reads a kubelet's CredentialProviderConfig.
func parseProviders(text []byte) ([]provider, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`
		Providers       []provider `json:"providers"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	group, _, _ := strings.Cut(file.APIVersion, "/")
	if group != "kubelet.config.k8s.io" || file.Kind != "CredentialProviderConfig" {
		return nil, fmt.Errorf("it is a %q of %q, not a CredentialProviderConfig of kubelet.config.k8s.io", file.Kind, file.APIVersion)
	}
	for i, p := range file.Providers {
		group, _, _ := strings.Cut(p.APIVersion, "/")
		switch {
		case p.Name == "" || p.Name != filepath.Base(p.Name) || p.Name == "." || p.Name == "..":
			return nil, fmt.Errorf("providers[%d].name: %q is not a file name", i, p.Name)
		case group != "credentialprovider.kubelet.k8s.io":
			return nil, fmt.Errorf("providers[%d].apiVersion: %q is not a version of credentialprovider.kubelet.k8s.io", i, p.APIVersion)
		case len(p.TokenAttributes) > 0 && string(p.TokenAttributes) != "null":
			return nil, fmt.Errorf("providers[%d].tokenAttributes: the webhook has no token of a pod's service account (KEP-4412 is for kubelets); give the provider an identity of the webhook's own", i)
		case !slices.ContainsFunc(p.MatchImages, validPattern):
			return nil, fmt.Errorf("providers[%d].matchImages: there is no pattern", i)
		}
	}
	return file.Providers, nil
}

func (p provider) serves(repository string) bool {
	return slices.ContainsFunc(p.MatchImages, func(place string) bool { return matchesURL(place, repository) })
}

// programs runs the programs that know credentials, one at a time for the same question, and remembers what they say.
type programs struct {
	directory string
	now       func() time.Time

	// slots are taken by programs that run, by namespace.
	slots *fair.Pool

	mu      sync.Mutex
	known   map[string]answer
	running map[string]*run // by the question
}

// maxPrograms run at once. Those for the Pods of one namespace are at most half of them.
const maxPrograms = 16

// run is one run of a program, for all lookups that wait for it.
type run struct {
	done  chan struct{}
	auths map[string]login
	err   error
}

// newPrograms are the programs of a directory.
func newPrograms(directory string, now func() time.Time) *programs {
	return &programs{directory: directory, now: now, slots: fair.New(maxPrograms), known: map[string]answer{}, running: map[string]*run{}}
}

// answer of a program, and when it ends to count.
type answer struct {
	auths map[string]login
	until time.Time
}

// maxAnswers bounds what is remembered; more than there are registries, unless programs answer by image.
const maxAnswers = 1024

// recall is what one of these keys has as its answer.
func (p *programs) recall(keys ...string) (map[string]login, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if a, ok := p.known[key]; ok && p.now().Before(a.until) {
			return a.auths, true
		}
	}
	return nil, false
}

func (p *programs) remember(key string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxAnswers {
		p.known = map[string]answer{}
	}
	p.known[key] = a
}

// provide asks a kubelet's credential provider for the logins of a repository.
func (p *programs) provide(ctx context.Context, namespace string, by provider, repository string) (map[string]login, error) {
	host, _, _ := strings.Cut(repository, "/")
	keyOf := func(kind string) (string, bool) {
		of := map[string]string{"Image": repository, "Registry": host, "Global": ""}
		value, ok := of[kind]
		return by.Name + "\x00" + kind + "\x00" + value, ok
	}
	image, _ := keyOf("Image")
	registry, _ := keyOf("Registry")
	global, _ := keyOf("Global")
	return p.ask(ctx, namespace, []string{image, registry, global}, func(ctx context.Context) (map[string]login, error) {
		request, err := json.Marshal(map[string]string{"apiVersion": by.APIVersion, "kind": "CredentialProviderRequest", "image": repository})
		if err != nil {
			return nil, err
		}
		var env []string
		for _, e := range by.Env {
			env = append(env, e.Name+"="+e.Value)
		}
		text, err := p.run(ctx, by.Name, by.Args, env, request)
		if err != nil {
			return nil, err
		}
		response, err := parseProviderResponse(text)
		if err != nil {
			return nil, fmt.Errorf("running %s: %w", by.Name, err)
		}
		lasts := response.lasts
		if lasts == nil {
			lasts = by.DefaultCacheDuration
		}
		if key, ok := keyOf(response.keyType); ok && lasts != nil && lasts.Duration > 0 {
			p.remember(key, answer{response.auths, p.now().Add(lasts.Duration)})
		}
		return response.auths, nil
	})
}

// providerResponse is what a kubelet's credential provider answers (CredentialProviderResponse).
type providerResponse struct {
	auths map[string]login
	// keyType is Image, Registry or Global: what the answer is for.
	keyType string
	// lasts is how long the answer counts; nil if the provider does not say it.
	lasts *metav1.Duration
}

// parseProviderResponse reads the output of a credential provider. No error quotes it: it is made of secrets.
func parseProviderResponse(text []byte) (providerResponse, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`
		CacheKeyType    string                                         `json:"cacheKeyType"`
		CacheDuration   *metav1.Duration                               `json:"cacheDuration"`
		Auth            map[string]struct{ Username, Password string } `json:"auth"`
	}
	if err := json.Unmarshal(text, &file); err != nil || file.Kind != "CredentialProviderResponse" {
		return providerResponse{}, errors.New("its answer is not a CredentialProviderResponse")
	}
	switch file.CacheKeyType {
	case "Image", "Registry", "Global":
	default:
		return providerResponse{}, errors.New("cacheKeyType of its answer is not Image, Registry or Global")
	}
	response := providerResponse{auths: map[string]login{}, keyType: file.CacheKeyType, lasts: file.CacheDuration}
	for place, a := range file.Auth {
		response.auths[place] = login{Username: a.Username, Password: a.Password}
	}
	return response, nil
}

// help asks a docker-credential plugin for the login of a registry.
func (p *programs) help(ctx context.Context, namespace, helper, server string) (map[string]login, error) {
	program := "docker-credential-" + helper
	if helper != filepath.Base(helper) {
		return nil, fmt.Errorf("%q is not the name of a docker-credential helper", helper)
	}
	key := program + "\x00" + server
	return p.ask(ctx, namespace, []string{key}, func(ctx context.Context) (map[string]login, error) {
		text, err := p.run(ctx, program, []string{"get"}, nil, []byte(server))
		if err != nil {
			return nil, err
		}
		l, err := parseHelperResponse(text)
		if err != nil {
			return nil, fmt.Errorf("running %s: %w", program, err)
		}
		auths := map[string]login{server: l}
		p.remember(key, answer{auths, p.now().Add(helperTime)})
		return auths, nil
	})
}

// parseHelperResponse reads the output of a docker-credential plugin. No error quotes it.
func parseHelperResponse(text []byte) (login, error) {
	var response struct{ Username, Secret string }
	if err := json.Unmarshal(text, &response); err != nil {
		return login{}, errors.New("its answer is not a credential in JSON")
	}
	if response.Username == "<token>" { // docker-credential-helpers' mark for an identity token
		return login{IdentityToken: response.Secret}, nil
	}
	return login{Username: response.Username, Password: response.Secret}, nil
}

// ask gives the answer that is remembered under one of these keys, or gets it with a slot of the namespace. A program may
// take longer than a Pod can wait; it goes on, and the next Pod has its answer.
func (p *programs) ask(ctx context.Context, namespace string, keys []string, get func(context.Context) (map[string]login, error)) (map[string]login, error) {
	if auths, ok := p.recall(keys...); ok {
		return auths, nil
	}
	p.mu.Lock()
	r, underWay := p.running[keys[0]]
	p.mu.Unlock()
	if !underWay {
		if err := p.slots.Acquire(ctx, namespace, 1); err != nil {
			return nil, fmt.Errorf("waiting to run a credential plugin: %w", err)
		}
		if auths, ok := p.recall(keys...); ok { // another had it meanwhile
			p.slots.Release(namespace, 1)
			return auths, nil
		}
		r = p.start(namespace, keys[0], get)
	}
	select {
	case <-r.done:
		return r.auths, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a credential plugin: %w", ctx.Err())
	}
}

// start runs a program in the background, with a slot that is taken, unless it runs already.
func (p *programs) start(namespace, key string, get func(context.Context) (map[string]login, error)) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.running[key]; ok {
		p.slots.Release(namespace, 1)
		return r
	}
	r := &run{done: make(chan struct{})}
	p.running[key] = r
	go func() {
		defer func() {
			if bug := recover(); bug != nil {
				r.err = fmt.Errorf("a bug in podinit, please report it: panic: %v", bug)
			}
			p.mu.Lock()
			delete(p.running, key)
			p.mu.Unlock()
			p.slots.Release(namespace, 1)
			close(r.done)
		}()
		ctx, cancel := context.WithTimeout(context.Background(), programTime)
		defer cancel()
		r.auths, r.err = get(ctx)
	}()
	return r
}

// run runs a program of the directory. What it writes to standard error may hold anything, and is not repeated.
func (p *programs) run(ctx context.Context, program string, args, env []string, input []byte) ([]byte, error) {
	if p.directory == "" {
		return nil, fmt.Errorf("running %s: programDirectory is missing in the registry configuration", program)
	}
	command := exec.CommandContext(ctx, filepath.Join(p.directory, program), args...)
	command.Env = append(os.Environ(), env...)
	command.Stdin = bytes.NewReader(input)
	command.WaitDelay = time.Second // a grandchild may hold the pipe
	output := &bounded{max: maxProgramOutput}
	command.Stdout = output
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("running %s: %w", program, err)
	}
	return output.buffer.Bytes(), nil
}

// bounded is a buffer that refuses to grow beyond max bytes.
type bounded struct {
	buffer bytes.Buffer // not embedded: its ReadFrom knows no bound
	max    int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > b.max {
		return 0, errors.New("its output is too large")
	}
	return b.buffer.Write(p)
}
