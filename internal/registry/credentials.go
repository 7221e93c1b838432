package registry

import (
	"context"
	"iter"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials of podinit's own. They open images to every Pod of the namespaces named, also those that the Pod itself
// could not pull; they are best such as every node has anyway.
type Credentials struct {
	// Namespaces that they serve; "*" for all. None without it.
	Namespaces []string `json:"namespaces,omitempty"`
	// DockerConfigFile is a docker config.json with auths, credHelpers and credsStore. It is read again each time.
	DockerConfigFile string `json:"dockerConfigFile,omitempty"`
	// ProviderConfigFile is a kubelet's CredentialProviderConfig (kubelet.config.k8s.io/v1), for the programs that
	// kubelets get credentials of clouds with.
	ProviderConfigFile string `json:"providerConfigFile,omitempty"`
	// ProgramDirectory holds these programs, and docker-credential-* for credHelpers and credsStore. None other is run.
	ProgramDirectory string `json:"programDirectory,omitempty"`
}

// serves says whether they are for a namespace.
func (c Credentials) serves(namespace string) bool {
	return slices.Contains(c.Namespaces, namespace) || slices.Contains(c.Namespaces, "*")
}

func (c *Credentials) files() []*string {
	return []*string{&c.DockerConfigFile, &c.ProviderConfigFile, &c.ProgramDirectory}
}

// source has logins, by the place they are for. Those for other repositories do not count. The caller stops when it has enough, and no
// more are looked for then.
type source func(ctx context.Context, namespace string, named name.Repository) iter.Seq2[map[string]login, error]

// sources are where the credentials come from, in the order in which they are asked. Another one takes an option above and its
// element here.
func (c Credentials) sources(programs *programs) ([]source, error) {
	var sources []source
	if c.DockerConfigFile != "" {
		sources = append(sources, dockerConfigSource(c.DockerConfigFile, programs))
	}
	if c.ProviderConfigFile != "" {
		providers, err := readProviders(c.ProviderConfigFile)
		if err != nil {
			return nil, err
		}
		sources = append(sources, providerSource(providers, programs))
	}
	return sources, nil
}

// dockerConfigSource is a docker config, and the docker-credential plugin that it names.
func dockerConfigSource(file string, programs *programs) source {
	return func(ctx context.Context, namespace string, named name.Repository) iter.Seq2[map[string]login, error] {
		return func(yield func(map[string]login, error) bool) {
			config, err := readDockerConfig(file)
			if !yield(config.auths, err) {
				return
			}
			if helper, server, ok := config.helper(dockerHub(named.RegistryStr())); ok {
				yield(programs.help(ctx, namespace, helper, server))
			}
		}
	}
}

// providerSource is a kubelet's credential providers.
func providerSource(providers []provider, programs *programs) source {
	return func(ctx context.Context, namespace string, named name.Repository) iter.Seq2[map[string]login, error] {
		return func(yield func(map[string]login, error) bool) {
			for _, by := range providers {
				if by.serves(place(named)) && !yield(programs.provide(ctx, namespace, by, place(named))) {
					return
				}
			}
		}
	}
}
