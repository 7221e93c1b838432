package planner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/registry"
)

// clusterTime is how long a cluster may take to say how its webhook is set up. Manifests are wrapped without it, too.
const clusterTime = 3 * time.Second

// setup is how a cluster's webhook is set up, as far as what is planned depends on it.
type setup struct {
	// from names it.
	from      string
	initImage string
	// version of the webhook; empty if nothing says it.
	version string
	// excluded are the namespaces that it never touches.
	excluded []string
	// openShift is set where its copier fits SecurityContextConstraints, whatever a pod's annotations say.
	openShift bool
	// mirrors of its init image.
	mirrors []string
	// lookups is false where it asks no registry.
	lookups bool
	// registries is its registry configuration, nil if it has none, and files those that this names, by the path that it has
	// for them now.
	registries []byte
	files      map[string][]byte
	// unread is set where it has one that cannot be read.
	unread bool
	// problems are parts of the registry configuration that cannot be read from outside.
	problems []string
	// changing is set while its replicas may still be set up as before.
	changing bool
}

// errNoCluster is returned where no cluster is named.
var errNoCluster = errors.New("no kubeconfig has a cluster")

// ask asks the cluster how its webhook is set up. It returns soon, whatever the cluster or a credential plugin does.
func ask(ctx context.Context, flags *genericclioptions.ConfigFlags) (*setup, error) {
	config, err := clusterConfig(flags)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	type answer struct {
		found *setup
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		found, err := read(ctx, client)
		answers <- answer{found, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil && ctx.Err() == nil {
			if unanswered := (*url.Error)(nil); errors.As(a.err, &unanswered) {
				a.err = unanswered.Err // the rest of it is a long URL
			}
			return nil, fmt.Errorf("cluster %s: %w", config.Host, a.err)
		}
		if a.err == nil {
			return a.found, nil
		}
	case <-ctx.Done():
	}
	return nil, fmt.Errorf("cluster %s has not answered within %s", config.Host, clusterTime)
}

// clusterConfig is how the cluster is reached. Without a kubeconfig kubectl would ask localhost.
func clusterConfig(flags *genericclioptions.ConfigFlags) (*rest.Config, error) {
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	named := flags.APIServer != nil && *flags.APIServer != ""
	if len(raw.Clusters) == 0 && !named && os.Getenv("KUBERNETES_SERVICE_HOST") == "" && os.Getenv("KUBERNETES_MASTER") == "" {
		return nil, errNoCluster
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	if config.Timeout == 0 {
		config.Timeout = 2 * clusterTime // the context is over before
	}
	return config, nil
}

// read reads how the webhook is set up.
func read(ctx context.Context, client kubernetes.Interface) (*setup, error) {
	d, err := installation.FindAnywhere(ctx, client)
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not read podinit's Deployment: %w", err)
	case err != nil:
		return nil, err
	}
	i := &setup{
		from:      fmt.Sprintf("deployment/%s in namespace %s", d.Name, d.Namespace),
		initImage: installation.InitImage(d), version: versionOf(ctx, client, d),
		openShift: installation.Enabled(d, "openshift"), mirrors: listed(installation.Flag(d, "init-image-mirrors")),
		excluded: excludedBy(d), lookups: installation.Flag(d, "lookups") != "false", files: map[string][]byte{},
		changing: d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != d.Status.Replicas,
	}
	if at := installation.Flag(d, "registry-config"); at != "" && i.lookups {
		if err := i.readRegistries(ctx, client, d, at); err != nil {
			i.registries, i.unread = nil, true
			i.problems = append(i.problems, fmt.Sprintf("the cluster's registry configuration cannot be read: %v", err))
		}
	}
	return i, nil
}

// versionOf is the webhook's version; empty if nothing says it soon.
func versionOf(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment) string {
	ctx, cancel := context.WithTimeout(ctx, clusterTime/3)
	defer cancel()
	version, _ := installation.Version(ctx, client, d)
	return version
}

// excludedBy are the namespaces that a webhook never touches.
func excludedBy(d *appsv1.Deployment) []string {
	names := installation.Flag(d, "exclude-namespaces")
	if names == "" {
		return append([]string{d.Namespace}, excludedNamespaces...)
	}
	return append([]string{d.Namespace}, listed(names)...)
}

// listed are the words of a list that is separated by commas.
func listed(list string) (words []string) {
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// readRegistries reads the registry configuration, and the files that it names but those with credentials: here the
// user's own count.
func (i *setup) readRegistries(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment, at string) error {
	files, err := installation.Files(ctx, client, d, at)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := yaml.Unmarshal(files["."], &config); err != nil {
		return err
	}
	delete(config, "credentials")
	copied := 0
	// local is a name for what is at a path of the webhook's container, "" if it cannot be read.
	local := func(file any) string {
		named, _ := file.(string)
		if named == "" {
			return ""
		}
		if !path.IsAbs(named) {
			named = path.Join(path.Dir(at), named)
		}
		found, err := installation.Files(ctx, client, d, named)
		if err != nil {
			i.problems = append(i.problems, err.Error())
			return ""
		}
		copied++
		directory := fmt.Sprint("file-", copied)
		for below, content := range found {
			i.files[path.Join(directory, below)] = content
		}
		return directory
	}
	replace := func(in map[string]any, key string) {
		if _, ok := in[key]; !ok {
			return
		}
		if at := local(in[key]); at != "" {
			in[key] = at
		} else {
			delete(in, key)
		}
	}
	replace(config, "hostsDirectory")
	hosts, _ := config["registries"].([]any)
	for _, host := range hosts {
		if host, ok := host.(map[string]any); ok {
			replace(host, "caFile")
		}
	}
	if i.registries, err = yaml.Marshal(config); err != nil {
		return err
	}
	return ctx.Err()
}

// write writes the registry configuration with its files into a directory of its own, which remove removes.
func (i *setup) write() (file string, remove func(), err error) {
	directory, err := os.MkdirTemp("", "podinit-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(directory) }
	file = filepath.Join(directory, "registries.yaml")
	err = os.WriteFile(file, i.registries, 0o600)
	for name, content := range i.files {
		if err != nil {
			break
		}
		name = filepath.FromSlash(name)
		if !filepath.IsLocal(name) {
			err = fmt.Errorf("%q is not the name of a file in a volume", name)
			break
		}
		if err = os.MkdirAll(filepath.Dir(filepath.Join(directory, name)), 0o700); err == nil {
			err = os.WriteFile(filepath.Join(directory, name), content, 0o600)
		}
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("copying the cluster's registry configuration: %w", err)
	}
	return file, remove, nil
}

// used says what of the installation is used, for the user to read.
func (i *setup) used(initImage, registries bool) string {
	var parts []string
	if initImage {
		parts = append(parts, "init image "+cmp.Or(i.initImage, "unknown"))
	}
	switch {
	case !i.lookups:
		parts = append(parts, "no lookups (-lookups=false)")
	case registries && i.unread:
		parts = append(parts, "its registry configuration is not known")
	case registries && i.registries != nil:
		parts = append(parts, "registry configuration")
	case registries:
		parts = append(parts, "no registry configuration")
	}
	text := "as " + i.from + ": " + strings.Join(parts, ", ")
	if i.changing {
		text += "; a rollout is under way, and old replicas may decide differently"
	}
	return text
}

// protected is the user's keychain, but for hosts to which it would go without TLS, or without knowing them.
type protected struct{ unprotected []string }

// unlessUnprotected is the user's keychain for what a cluster says about registries. Whoever may write that is not the one to
// have the user's passwords sent in the clear: --registry-config is.
func unlessUnprotected(hosts []registry.Host, files map[string][]byte) authn.Keychain {
	var k protected
	for name, text := range files {
		if path.Base(name) == "hosts.toml" {
			k.unprotected = append(k.unprotected, unprotectedBy(path.Base(path.Dir(name)), string(text))...)
		}
	}
	for _, h := range hosts {
		if h.PlainHTTP || h.SkipVerify {
			k.unprotected = append(k.unprotected, h.Host)
		}
	}
	return k
}

// unprotectedBy are the hosts that a hosts.toml of containerd's may have asked without TLS, or without knowing them: all that
// it names, and the one that its directory is named for, HOST_PORT_ if it has a port. It says too much rather than too little.
func unprotectedBy(directory, text string) []string {
	if !strings.Contains(text, "http://") && !strings.Contains(text, "skip_verify") {
		return nil
	}
	if directory == "_default" {
		return []string{"*"}
	}
	if before, ok := strings.CutSuffix(directory, "_"); ok {
		if i := strings.LastIndexByte(before, '_'); i >= 0 {
			directory = before[:i] + ":" + before[i+1:]
		}
	}
	hosts := []string{directory}
	for _, found := range hostInURL.FindAllStringSubmatch(text, -1) {
		hosts = append(hosts, found[1])
	}
	return hosts
}

var hostInURL = regexp.MustCompile(`https?://([^/"'\s]+)`)

// Resolve is authn.Keychain's.
func (k protected) Resolve(asked authn.Resource) (authn.Authenticator, error) {
	host := asked.RegistryStr()
	if slices.ContainsFunc(k.unprotected, func(pattern string) bool {
		same, err := path.Match(pattern, host)
		return same || err != nil || host == name.DefaultRegistry && pattern == "docker.io"
	}) {
		return authn.Anonymous, nil
	}
	return authn.DefaultKeychain.Resolve(asked)
}

// note writes a line about what is planned with.
func note(w io.Writer, text string) {
	fmt.Fprintf(w, "%s %s\n", output.StyleFor(w).Faint("note:"), text)
}

// assumed says what is assumed where neither an option nor a cluster says it.
func (o Options) assumed() string {
	var parts []string
	if o.InitImage == "" {
		parts = append(parts, "init image "+ownInitImage())
	}
	if o.RegistryConfig == "" && !o.Offline {
		parts = append(parts, "no registry configuration")
	}
	if len(o.Profiles) == 0 {
		parts = append(parts, "the built-in defaults for an InitProfile")
	}
	if len(o.Architectures) == 0 {
		parts = append(parts, "nodes of any architecture")
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing")
}
