package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/imageconfig"
)

// Config is the registry configuration, a YAML file. Without it every registry that is on a public address is asked,
// by TLS, with the Pod's own credentials.
//
//	registries:
//	- host: registry.example:5000
//	  caFile: registry.crt
//	- host: docker.io
//	  mirrors: [mirror.example/dockerhub]
//	- host: registry.internal
//	  privateNetworks: [10.1.2.0/24]
//	- host: "*.node.local"
//	  lookup: off
//	credentials:
//	  namespaces: [team-a]
//	  dockerConfigFile: /etc/podinit/docker/config.json
//
// Nodes' own mirrors, CAs and credentials cannot be seen from here; what they need is to be said again. Names of files
// count from the directory of this one.
type Config struct {
	// Registries that need something said about them. The first whose Host fits counts.
	Registries []Host `json:"registries,omitempty"`
	// HostsDirectory is a directory of containerd's, HOST/hosts.toml (certs.d), which is read by containerd's own code. It
	// counts for registries to which Registries give no Mirrors. It may change at any time: what it says is used for 5
	// seconds. Its hosts are connected to as it says, unless Registries say how.
	HostsDirectory string `json:"hostsDirectory,omitempty"`
	// PrivateNetworks, as CIDRs, in which any registry may be: loopback and private addresses are not connected to
	// otherwise, because the user that creates a Pod chooses its registry. With this, a Pod can have every address there
	// asked; Host.PrivateNetworks opens them for one host alone. Link-local addresses and the metadata services of clouds
	// are never connected to.
	PrivateNetworks []string `json:"privateNetworks,omitempty"`
	// Credentials besides the Pods' own.
	Credentials Credentials `json:"credentials,omitempty"`
}

// Host is what is to be known about a registry, or about a host that it redirects to. Behind a proxy (HTTPS_PROXY), where
// addresses cannot be checked, only hosts that are named here are asked.
type Host struct {
	// Host as images name it, with its port if they do; each * stands for anything in one part of a host name.
	Host string `json:"host"`
	// Mirrors are asked before it, in this order: host, port and, where it keeps this registry below a path, that path.
	Mirrors []string `json:"mirrors,omitempty"`
	// CAFile has the certificates, in PEM, of the issuers of the registry's own; the system's count too.
	CAFile string `json:"caFile,omitempty"`
	// SkipVerify takes any certificate.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// PlainHTTP speaks HTTP without TLS with it. Credentials go over the network for all to see.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// PrivateNetworks, as CIDRs, in which this host may be, besides those of the Config. They count for the host that is
	// connected to: a mirror, a token server or a host that blobs are redirected to needs an entry of its own.
	PrivateNetworks []string `json:"privateNetworks,omitempty"`
	// Lookup is false if this registry is not to be asked; true without it.
	Lookup *bool `json:"lookup,omitempty"`
}

// maxConfig bounds every file that is read, in bytes.
const maxConfig = 1 << 20

// ReadConfig reads a registry configuration.
func ReadConfig(file string) (Config, error) {
	text, err := readFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("reading the registry configuration: %w", err)
	}
	config, err := ParseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("reading the registry configuration %s: %w", file, err)
	}
	for _, name := range config.files() {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(filepath.Dir(file), *name)
		}
	}
	if config.HostsDirectory != "" {
		if _, err := os.ReadDir(config.HostsDirectory); err != nil {
			return Config{}, fmt.Errorf("reading the registry configuration %s: hostsDirectory: %w", file, err)
		}
	}
	return config, nil
}

func (c *Config) files() []*string {
	files := append(c.Credentials.files(), &c.HostsDirectory)
	for i := range c.Registries {
		files = append(files, &c.Registries[i].CAFile)
	}
	return files
}

// ParseConfig reads the text of a registry configuration. Names of files in it stay as they are.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, err
	}
	for i, r := range c.Registries {
		if host := r.Host; host == "" || strings.Contains(host, "/") || !validPattern(host) {
			return Config{}, fmt.Errorf("registries[%d].host: %q is not a HOST or HOST:PORT", i, host)
		}
		for _, mirror := range r.Mirrors {
			if err := checkMirror(mirror); err != nil {
				return Config{}, fmt.Errorf("registries[%d].mirrors: %.100q is not a HOST[:PORT][/PATH]: %w", i, mirror, err)
			}
		}
	}
	if _, err := c.networks(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// checkMirror says whether a repository can be named below a mirror.
func checkMirror(mirror string) error {
	if err := imageconfig.CheckName(mirror); err != nil {
		return err
	}
	_, err := name.NewRepository(mirror+"/x", name.StrictValidation)
	return err
}

func validPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil
}

// networks are the private networks that hosts may be in, by Host.Host; "" for hosts that are not named.
func (c Config) networks() (map[string][]netip.Prefix, error) {
	all, err := parseNetworks(c.PrivateNetworks)
	if err != nil {
		return nil, fmt.Errorf("privateNetworks: %w", err)
	}
	networks := map[string][]netip.Prefix{"": all}
	for i, host := range c.Registries {
		own, err := parseNetworks(host.PrivateNetworks)
		if err != nil {
			return nil, fmt.Errorf("registries[%d].privateNetworks: %w", i, err)
		}
		if _, known := networks[host.Host]; !known { // the first counts
			networks[host.Host] = slices.Concat(all, own)
		}
	}
	return networks, nil
}

func parseNetworks(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// of is what the configuration says about a host, and whether it names it.
func (c Config) of(host string) (Host, bool) {
	for _, h := range c.Registries {
		if matchesHost(h.Host, registryAt(host)) || matchesHost(h.Host, host) {
			return h, true
		}
	}
	return Host{}, false
}

// speaks says whether h says how the host is connected to.
func (h Host) speaks() bool { return h.CAFile != "" || h.SkipVerify || h.PlainHTTP }

// tls is how the host is to be known as the one that was meant.
func (h Host) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.SkipVerify} //nolint:gosec // only for hosts of which the configuration says so
	if h.CAFile == "" {
		return config, nil
	}
	pem, err := readFile(h.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA of registry %s: %w", h.Host, err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA of registry %s: there is no certificate in %s, or not in PEM", h.Host, h.CAFile)
	}
	return config, nil
}

func readFile(file string) ([]byte, error) {
	if err := checkFile(file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// checkFile says whether a file may be read.
func checkFile(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", file)
	case info.Size() > maxConfig:
		return fmt.Errorf("%s is larger than %d bytes", file, maxConfig)
	}
	return nil
}
