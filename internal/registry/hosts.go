package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/pelletier/go-toml/v2"
	"github.com/sirupsen/logrus"
)

const (
	// routeTime is how long a route holds before the hosts directory is read again. containerd reads it for each pull.
	routeTime = 5 * time.Second
	// maxRoutes bounds how many routes are remembered: users that may create Pods may invent registries.
	maxRoutes = 1024
	// maxPooled bounds how many kinds of TLS of a hosts directory keep their connections.
	maxPooled = 64
)

// route is where the images of one registry are read.
type route struct {
	// hosts in the order in which they are asked, each with a guarded client, and without an Authorizer.
	hosts []docker.RegistryHost
	// named are the hosts that the hosts directory names for this registry, and whether it allows HTTP without TLS to them.
	named map[string]bool
	// problem is why the hosts directory is not followed, which the hosts make up for; nil if it is. It holds no secret.
	problem error
	// failure is why there are no hosts, as the node would find none either.
	failure error
	// read is when this was found out.
	read time.Time
}

// routeOf finds the route of a registry, as images name it: the mirrors that Registries give it, or else the hosts that
// the hosts directory gives it, or else the registry itself.
func (r *Registries) routeOf(ctx context.Context, registry string) *route {
	now := r.now()
	r.mu.Lock()
	known, ok := r.routes[registry]
	r.mu.Unlock()
	if ok && now.Sub(known.read) < routeTime {
		return known
	}
	found := r.findRoute(ctx, registry)
	found.read = now
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.routes) >= maxRoutes {
		clear(r.routes)
	}
	r.routes[registry] = found
	return found
}

func (r *Registries) findRoute(ctx context.Context, registry string) *route {
	found := &route{}
	own, _ := r.config.of(registry)
	for _, mirror := range own.Mirrors {
		host, below, _ := strings.Cut(mirror, "/")
		found.hosts = append(found.hosts, r.host(host, below))
	}
	if len(found.hosts) == 0 && r.config.HostsDirectory != "" {
		directory, err := r.hostDirectory(registry)
		switch {
		case err != nil:
			found.failure = fmt.Errorf("reading the hosts directory: %w", withoutRoot(err, r.config.HostsDirectory))
			return found
		case directory != "":
			r.followDirectory(ctx, registry, directory, found)
			r.log(directory, errors.Join(found.failure, found.problem))
			return found
		}
	}
	found.hosts = append(found.hosts, r.host(registry, ""))
	return found
}

// host is a host as Registries describe it, which keeps the registry below a path.
func (r *Registries) host(name, below string) docker.RegistryHost {
	described, _ := r.config.of(name)
	if dockerHub(name) == "docker.io" {
		name = hubHost
	}
	host := docker.RegistryHost{
		Client: &http.Client{Transport: r.guards[described.Host]}, Scheme: "https", Host: name, Path: path.Join("/v2", below),
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}
	if described.PlainHTTP {
		host.Scheme = "http"
	}
	return host
}

// hostDirectory is the directory that a node would read for a registry; empty if there is none.
func (r *Registries) hostDirectory(registry string) (string, error) {
	// A Pod may name any registry; none of them leads out of the directory, or into a ConfigMap's own "..data".
	if strings.HasPrefix(registry, ".") || strings.ContainsAny(registry, `/\`) {
		return "", nil
	}
	directory, err := config.HostDirFromRoot(r.config.HostsDirectory)(registry)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	return directory, err
}

// followDirectory fills a route with what containerd makes of a directory with a hosts.toml, or with certificates alone.
func (r *Registries) followDirectory(ctx context.Context, registry, directory string, found *route) {
	tell := func(err error) error {
		return fmt.Errorf("reading %s of the hosts directory: %w", filepath.Base(directory), withoutRoot(err, r.config.HostsDirectory))
	}
	if err := checkFiles(directory); err != nil {
		found.failure = tell(err)
		return
	}
	problems := &errorHook{}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.AddHook(problems)
	hosts, err := config.ConfigureHosts(log.WithLogger(ctx, logrus.NewEntry(logger)), config.HostOptions{
		HostDir: func(string) (string, error) { return directory, nil },
		// The node's localhost is another than ours, so nothing is taken for granted about it.
		DefaultScheme: "https",
		UpdateClient: func(client *http.Client) error {
			if made, ok := client.Transport.(*http.Transport); ok { // else it has been here before
				client.Transport = r.pooled(made.TLSClientConfig)
			}
			return nil
		},
	})(registry)
	if err != nil {
		found.failure = tell(err)
		return
	}
	if problems.found != nil {
		found.problem = tell(problems.found)
	}
	found.named = map[string]bool{}
	for _, host := range hosts {
		if described, ok := r.config.of(host.Host); ok && described.speaks() {
			host.Client, host.Scheme = &http.Client{Transport: r.guards[described.Host]}, "https"
			if described.PlainHTTP {
				host.Scheme = "http"
			}
		}
		_, guarded := host.Client.Transport.(*guarded)
		found.named[host.Host] = found.named[host.Host] || host.Scheme == "http" || !guarded // containerd's fallback from TLS
		host.Authorizer = nil
		found.hosts = append(found.hosts, host)
	}
}

// log says what is wrong with a directory, if it is news.
func (r *Registries) log(directory string, problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	r.mu.Lock()
	news := r.logged[directory] != text
	r.logged[directory] = text
	r.mu.Unlock()
	switch {
	case news && text != "":
		r.Log.Error(problem, "part of the hosts directory cannot be used", "directory", filepath.Base(directory))
	case news:
		r.Log.Info("a part of the hosts directory can be used again", "directory", filepath.Base(directory))
	}
}

// withoutRoot is an error without the path of the hosts directory, which only the administrator may see.
func withoutRoot(err error, root string) error {
	return plain(errors.New(strings.ReplaceAll(err.Error(), filepath.Clean(root)+string(filepath.Separator), "")))
}

// errorHook keeps the last error that is logged: containerd logs that it passes over a hosts.toml.
type errorHook struct{ found error }

// Levels implements logrus.Hook.
func (*errorHook) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

// Fire implements logrus.Hook.
func (h *errorHook) Fire(entry *logrus.Entry) error {
	h.found = errors.New(entry.Message)
	if err, ok := entry.Data[logrus.ErrorKey].(error); ok {
		h.found = fmt.Errorf("%s: %w", entry.Message, err)
	}
	return nil
}

// checkFiles says whether what containerd reads of a directory are files that may be read: hosts.toml and what it names,
// or else the certificates.
func checkFiles(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	var files []string
	for _, entry := range entries {
		switch filepath.Ext(entry.Name()) {
		case ".crt", ".cert", ".key":
			files = append(files, filepath.Join(directory, entry.Name()))
		}
	}
	text, err := readFile(filepath.Join(directory, "hosts.toml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type hostFiles struct {
		CA     any `toml:"ca"`
		Client any `toml:"client"`
	}
	var described struct {
		hostFiles
		Hosts map[string]hostFiles `toml:"host"`
	}
	if toml.Unmarshal(text, &described) == nil { // containerd says what is wrong with it
		for _, host := range described.Hosts {
			files = append(files, filesIn(host.CA)...)
			files = append(files, filesIn(host.Client)...)
		}
		files = append(files, filesIn(described.CA)...)
		files = append(files, filesIn(described.Client)...)
	}
	for _, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(directory, file)
		}
		if err := checkFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// filesIn are the names in a value of hosts.toml: one, or lists of them.
func filesIn(value any) []string {
	switch value := value.(type) {
	case string:
		if value != "" {
			return []string{value}
		}
	case []any:
		var all []string
		for _, v := range value {
			all = append(all, filesIn(v)...)
		}
		return all
	}
	return nil
}

// pooled is the guarded transport for hosts that are known by a kind of TLS, so that connections outlive the route.
func (r *Registries) pooled(kind *tls.Config) *guarded {
	if kind.RootCAs == nil && !kind.InsecureSkipVerify && len(kind.Certificates) == 0 {
		return r.guards[""]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.pool {
		if sameTLS(g.tls, kind) {
			return g
		}
	}
	if len(r.pool) == maxPooled { // what was in use a long time ago; its connections end by themselves
		r.pool = r.pool[1:]
	}
	g := newGuarded(kind, r.config.of, r.networks, r.proxy)
	r.pool = append(r.pool, g)
	return g
}

// sameTLS says whether two hosts are known in the same way, and we to them.
func sameTLS(a, b *tls.Config) bool {
	if a.InsecureSkipVerify != b.InsecureSkipVerify || len(a.Certificates) != len(b.Certificates) || (a.RootCAs == nil) != (b.RootCAs == nil) {
		return false
	}
	for i := range a.Certificates {
		if len(a.Certificates[i].Certificate) == 0 || len(b.Certificates[i].Certificate) == 0 ||
			!bytes.Equal(a.Certificates[i].Certificate[0], b.Certificates[i].Certificate[0]) {
			return false
		}
	}
	return a.RootCAs == nil || a.RootCAs.Equal(b.RootCAs)
}
