package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// hostsFile is containerd's hosts.toml (its docs/hosts.md), which nodes have at certs.d/HOST. Fields that have nothing to
// do with reading are left out.
type hostsFile struct {
	Server string `toml:"server"`
	hostFields
	Hosts map[string]hostFields `toml:"host"`
}

type hostFields struct {
	Capabilities []string `toml:"capabilities"`
	CA           any      `toml:"ca"` // a file or several
	SkipVerify   bool     `toml:"skip_verify"`
	OverridePath bool     `toml:"override_path"`
	// Without these the host cannot be asked as the node does.
	Client any            `toml:"client"`
	Header map[string]any `toml:"header"`
}

// readHosts reads a directory of hosts.toml files: what they say about the registries, and about their mirrors.
func readHosts(directory string) ([]Host, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	var all []Host
	for _, entry := range entries {
		file := filepath.Join(directory, entry.Name(), "hosts.toml")
		if strings.HasPrefix(entry.Name(), ".") {
			continue // a ConfigMap's own
		}
		text, err := readFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var hosts []Host
		if err == nil {
			hosts, err = parseHosts(entry.Name(), text)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for _, host := range hosts {
			for i, ca := range host.CAFiles {
				if !filepath.IsAbs(ca) {
					host.CAFiles[i] = filepath.Join(filepath.Dir(file), ca)
				}
			}
			if all, err = describe(all, host); err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
		}
	}
	return all, nil
}

// describe adds what is said about a host to what is known. containerd knows a host anew in each file; here it is the
// same wherever it is named, so nothing may be weaker in one place than in another.
func describe(all []Host, host Host) ([]Host, error) {
	i := slices.IndexFunc(all, func(h Host) bool { return h.Host == host.Host })
	if i < 0 {
		return append(all, host), nil
	}
	known := &all[i]
	if known.SkipVerify != host.SkipVerify || known.PlainHTTP != host.PlainHTTP {
		return nil, fmt.Errorf("%s is described otherwise in another file: say the same of skip_verify and http in both", host.Host)
	}
	known.CAFiles = append(known.CAFiles, host.CAFiles...)
	known.Mirrors = append(known.Mirrors, host.Mirrors...)
	return all, nil
}

// speaks says whether anything is said about how the host is connected to.
func (h Host) speaks() bool { return len(h.CAFiles) > 0 || h.SkipVerify || h.PlainHTTP }

// parseHosts reads the hosts.toml of one registry, by the name of its directory: first that registry with its mirrors,
// then each of these.
func parseHosts(directory string, text []byte) ([]Host, error) {
	registry := directory
	if before, port, ok := cutLast(strings.TrimSuffix(directory, "_"), "_"); ok && strings.HasSuffix(directory, "_") {
		registry = before + ":" + port
	}
	if _, err := name.NewRegistry(registry, name.StrictValidation); err != nil || registry == "_default" {
		return nil, errors.New("the directory is named for no registry; one for all of them (_default) cannot be read: name each")
	}
	var file hostsFile
	if err := toml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	order, err := orderOf(text)
	if err != nil {
		return nil, err
	}
	own := Host{Host: registry}
	var mirrors []Host
	add := func(server string, fields hostFields) error {
		if len(fields.Capabilities) > 0 && !(slices.Contains(fields.Capabilities, "resolve") && slices.Contains(fields.Capabilities, "pull")) {
			return nil // it is not to be asked what a tag stands for
		}
		at, host, err := fields.host(server)
		if err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
		if at == registry || registry == "docker.io" && at == "registry-1.docker.io" {
			if host.speaks() {
				own.CAFiles, own.SkipVerify, own.PlainHTTP = host.CAFiles, host.SkipVerify, host.PlainHTTP
			}
			return nil
		}
		own.Mirrors = append(own.Mirrors, at)
		mirrors = append(mirrors, host)
		return nil
	}
	for _, server := range order {
		if err := add(server, file.Hosts[server]); err != nil {
			return nil, err
		}
	}
	if file.Server == "" {
		file.Server = registry
	}
	if err := add(file.Server, file.hostFields); err != nil {
		return nil, err
	}
	return append([]Host{own}, mirrors...), nil
}

// host is what the fields say about a server, and where it keeps the registry, as Host.Mirrors has it.
func (f hostFields) host(server string) (at string, host Host, err error) {
	if !strings.HasPrefix(server, "http") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", Host{}, err
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return "", Host{}, errors.New("it is no URL of scheme, host and perhaps a path")
	}
	if f.Client != nil || len(f.Header) > 0 {
		return "", Host{}, errors.New("client certificates and headers cannot be sent: leave this host out")
	}
	// The API is at /v2, as containerd finds it.
	api := "/v2"
	if u.Path != "" || f.OverridePath {
		if api = path.Clean("/" + u.Path); !strings.HasSuffix(api, "/v2") && !f.OverridePath {
			api = path.Join(api, "v2")
		}
	}
	below, ok := strings.CutPrefix(api, "/v2")
	if at = u.Host + below; !ok || below != "" && below[0] != '/' {
		return "", Host{}, fmt.Errorf("its API is at %s: only one at /v2, or with override_path below it, can be asked", api)
	}
	if err := checkMirror(at); err != nil {
		return "", Host{}, err
	}
	host = Host{Host: u.Host, SkipVerify: f.SkipVerify, PlainHTTP: u.Scheme == "http"}
	switch ca := f.CA.(type) {
	case nil:
	case string:
		host.CAFiles = []string{ca}
	case []any:
		for _, file := range ca {
			text, ok := file.(string)
			if !ok {
				return "", Host{}, errors.New("ca: it is no list of files")
			}
			host.CAFiles = append(host.CAFiles, text)
		}
	default:
		return "", Host{}, errors.New("ca: it is neither a file nor a list of them")
	}
	return at, host, nil
}

// orderOf are the keys of the tables [host.KEY], in the order of the file, which is that in which they are asked. A map
// has none; containerd looks at the text in the same way.
func orderOf(text []byte) ([]string, error) {
	var order []string
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var parts []string
		for key := e.Key(); key.Next(); {
			parts = append(parts, string(key.Node().Data))
		}
		if len(parts) >= 2 && parts[0] == "host" && !slices.Contains(order, parts[1]) {
			order = append(order, parts[1])
		}
	}
	return order, p.Error()
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
