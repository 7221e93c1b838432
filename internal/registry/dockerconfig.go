package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// login is a credential. Its zero value stands for anonymous access.
type login authn.AuthConfig

func (l login) empty() bool { return l == login{} }

// fingerprint tells logins apart without showing them.
func (l login) fingerprint() string {
	if l.empty() {
		return "anonymous"
	}
	hash := sha256.New()
	for _, field := range []string{l.Username, l.Password, l.Auth, l.IdentityToken, l.RegistryToken} {
		fmt.Fprintf(hash, "%d:%s", len(field), field)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// String keeps a login out of logs.
func (l login) String() string { return "(a credential)" }

// GoString keeps it out of %#v.
func (l login) GoString() string { return l.String() }

// keyring is which logins are for which registries and repositories, as the kubelet takes them from the secrets of a
// Pod (pkg/credentialprovider): all that match are tried, the most specific first, where that means the names in
// reverse order.
type keyring struct {
	logins map[string][]login
	// places are the keys of logins in the order in which they are tried.
	places []string
}

const (
	// maxHost and maxLabel bound what is matched against a host, in bytes: a DNS name has no more (RFC 1035 2.3.4). With
	// a star in it a label costs the product of its length and that of what it is matched against.
	maxHost, maxLabel = 253, 63
	// maxPlace bounds a key of a docker config, in bytes: a scheme, the longest name of an image and "/v1/".
	maxPlace = 1<<10 + 16
	// maxPlaces bounds how many of a Pod's keys count. All of them are matched for each container.
	maxPlaces = 1024
	// maxLogins bounds how many count for one key: one of each Secret.
	maxLogins = maxPullSecrets
	// maxLogin bounds a credential, in bytes. Tokens of cloud registries have some thousand.
	maxLogin = 64 << 10
	// maxProblems bounds how many entries of a Pod's Secrets are named that cannot be read. Others are counted.
	maxProblems = 16
)

// dockerConfig is a docker config.json. Entries that cannot be read are left out; problems says why for the first
// maxProblems of them, and unread is how many there are.
type dockerConfig struct {
	auths       map[string]login
	credHelpers map[string]string
	credsStore  string
	problems    []error
	unread      int
}

// parseDockerConfig reads a docker config.json, and with legacy a .dockercfg, which is the auths alone.
//
// No error quotes the text: it is made of secrets.
func parseDockerConfig(text []byte, legacy bool) (dockerConfig, error) {
	var file struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredHelpers map[string]string          `json:"credHelpers"`
		CredsStore  string                     `json:"credsStore"`
	}
	into := any(&file)
	if legacy {
		into = &file.Auths
	}
	if err := json.Unmarshal(text, into); err != nil {
		return dockerConfig{}, errors.New("it is not a docker config in JSON")
	}
	config := dockerConfig{auths: map[string]login{}, credHelpers: file.CredHelpers, credsStore: file.CredsStore}
	for _, key := range sorted(file.Auths) {
		l, err := parseLogin(file.Auths[key])
		switch {
		case err != nil:
			if config.unread++; config.unread <= maxProblems {
				config.problems = append(config.problems, fmt.Errorf("the entry for %.100q: %w", key, err))
			}
		case !l.empty():
			config.auths[key] = l
		}
	}
	return config, nil
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

// helper is the docker-credential plugin for a host, and what the program calls it.
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

func parseLogin(raw json.RawMessage) (login, error) {
	if len(raw) > maxLogin {
		return login{}, fmt.Errorf("it is longer than %d KiB", maxLogin>>10)
	}
	var entry struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	if err := json.Unmarshal(raw, &entry); err != nil {
		return login{}, errors.New("it is not an object with username and password, or auth")
	}
	l := login{Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken}
	if entry.Auth == "" {
		return l, nil
	}
	// Written with and without padding.
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(entry.Auth), "="))
	if err != nil {
		return login{}, errors.New("auth is not in base64")
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return login{}, errors.New("auth is not base64 of user:password")
	}
	l.Username, l.Password = user, password
	return l, nil
}

// add takes up logins by registry, as docker configs name it: a host, with a scheme or a path or neither. It fails where
// there are too many, and leaves those out.
func (k *keyring) add(auths map[string]login) (err error) {
	if k.logins == nil {
		k.logins = map[string][]login{}
	}
	defer func() {
		k.places = sorted(k.logins)
		slices.Reverse(k.places)
	}()
	for _, key := range sorted(auths) {
		place, ok := placeOf(key)
		if !ok {
			continue
		}
		if len(k.logins[place]) == 0 && len(k.logins) == maxPlaces || len(k.logins[place]) == maxLogins {
			err = fmt.Errorf("there are credentials for more than %d registries and repositories, or more than %d for one", maxPlaces, maxLogins)
			continue
		}
		k.logins[place] = append(k.logins[place], auths[key])
	}
	return err
}

// placeOf is the host and path that a key of a docker config names. /v1/ and /v2/ after the host mean nothing.
func placeOf(key string) (string, bool) {
	if len(key) > maxPlace {
		return "", false // it is for no image
	}
	if !strings.HasPrefix(key, "https://") && !strings.HasPrefix(key, "http://") {
		key = "https://" + key
	}
	u, err := url.Parse(key)
	if err != nil || u.Host == "" {
		return "", false
	}
	way := u.Path
	if strings.HasPrefix(way, "/v1/") || strings.HasPrefix(way, "/v2/") {
		way = way[len("/v1"):]
	}
	if way == "/" {
		way = ""
	}
	return u.Host + way, true
}

// find is every login for a repository, which is named with its registry. It stops when ctx is done, whose error it
// returns then.
func (k keyring) find(ctx context.Context, repository string) ([]login, error) {
	var found []login
	for _, place := range k.places {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if matchesURL(place, repository) {
			found = append(found, k.logins[place]...)
		}
	}
	if len(found) == 0 && strings.HasPrefix(repository, "docker.io/") {
		found = k.logins["index.docker.io"]
	}
	return found, nil
}

// matchesURL says whether a repository is below a place: the same host, in which * stands for anything in one part, the
// same port, and a path that begins the same (the kubelet's URLsMatch: letters of the path are compared, not segments).
func matchesURL(place, repository string) bool {
	host, way, _ := strings.Cut(place, "/")
	ofHost, ofWay, _ := strings.Cut(repository, "/")
	return matchesHost(host, ofHost) && strings.HasPrefix(ofWay, way)
}

func matchesHost(pattern, host string) bool {
	pattern, patternPort := splitPort(pattern)
	host, port := splitPort(host)
	if patternPort != port || len(pattern) > maxHost || len(host) > maxHost {
		return false
	}
	for more := true; more; {
		var label, part string
		var partsMore bool
		label, pattern, more = strings.Cut(pattern, ".")
		part, host, partsMore = strings.Cut(host, ".")
		if more != partsMore || len(label) > maxLabel || len(part) > maxLabel {
			return false
		}
		if label == part && !strings.ContainsAny(label, `*?[\`) {
			continue
		}
		if ok, err := path.Match(label, part); err != nil || !ok {
			return false
		}
	}
	return true
}

func splitPort(hostPort string) (host, port string) {
	if host, port, err := net.SplitHostPort(hostPort); err == nil {
		return host, port
	}
	return hostPort, ""
}

// dockerHub is a registry's name as people and kubelets write it: index.docker.io is docker.io.
func dockerHub(host string) string {
	if host == "index.docker.io" {
		return "docker.io"
	}
	return host
}

// hubHost is the host that containerd asks for docker.io.
const hubHost = "registry-1.docker.io"

// registryAt is the registry that is asked at a host, as people write it.
func registryAt(host string) string {
	if host == hubHost {
		return "docker.io"
	}
	return dockerHub(host)
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
