// Package planner puts together what admission goes by, for commands that plan without it: a profile, what images run,
// the init's image. What it plans with is the webhook's own code.
package planner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/internal/version"
)

// Options are the flags.
type Options struct {
	// Profiles are files with InitProfiles, or names of those in the cluster. The first is the namespace's choice.
	Profiles []string
	// ImageConfigs say what images run: IMAGE=PATH or a file with a map.
	ImageConfigs []string
	// RegistryConfig is the webhook's registry configuration; empty for that of the cluster, if there is one.
	RegistryConfig string
	// Architectures of the cluster's nodes.
	Architectures []string
	// InitImage holds the init; empty for that of the cluster, or else the one of this version.
	InitImage string
	// OpenShift has the copier fit SecurityContextConstraints.
	OpenShift bool
	// Offline asks neither registry nor cluster.
	Offline bool
	// Quiet reports nothing while a registry is waited for. It is not a flag.
	Quiet bool
}

// AddFlags adds all of them.
func (o *Options) AddFlags(command *cobra.Command) {
	f := command.Flags()
	f.StringSliceVar(&o.Profiles, "profile", nil, "InitProfile: a `file`, or the name of one in the cluster. The first applies to the\n"+
		"namespace; further ones apply to pods that name them")
	f.StringSliceVar(&o.ImageConfigs, "image-config", nil,
		"what images run: `IMAGE=PATH`, where PATH is an image config as \"crane config\" prints\n"+
			"it or a directory with an OCI layout; or a file with a map from images to image configs")
	f.StringVar(&o.RegistryConfig, "registry-config", "",
		"`file` with the webhook's registry configuration, for mirrors and CAs; else the cluster's")
	f.StringSliceVar(&o.Architectures, "architectures", nil, "architectures of the cluster's nodes, such as amd64,arm64; others do not count")
	f.StringVar(&o.InitImage, "init-image", "", "`image` that holds the init; else the cluster's, else "+ownInitImage())
	f.BoolVar(&o.OpenShift, "openshift", false,
		"the cluster is OpenShift: podinit-copy sets a seccomp profile only if the pod's containers set it")
	f.BoolVar(&o.Offline, "offline", false, "ask neither registries nor a cluster")
	_ = command.MarkFlagFilename("registry-config", "yaml", "yml") // it fails only for flags that are not there
}

// ownInitImage is the init image that is released with this version.
func ownInitImage() string { return "ghcr.io/podinit/init:" + version.Version }

// excludedNamespaces are those that the webhook never touches unless its flags name others.
var excludedNamespaces = append([]string{"podinit-system"}, inject.SystemNamespaces...)

// lookupTimeout is how long one pod template may wait for its images: no apiserver waits for the answer.
const lookupTimeout = time.Minute

// Injector plans as the webhook does. Close it when nothing is planned any more.
type Injector struct {
	admission.Planner
	known  *known
	remove func()
}

// known is what holds for pods without being in them, as far as files and the cluster say it.
type known struct {
	profiles *profiles
	// choices are the names of InitProfiles that namespaces name; what holds in others is profiles.first.
	choices       map[string]string
	architectures []string
}

// setting is what holds for a pod, as if its namespace had opted in.
func (k *known) setting(_ context.Context, namespace string, pod *inject.Pod) inject.Setting {
	setting := inject.Setting{Namespace: namespace, Selected: true, Architectures: k.architectures}
	choice := cmp.Or(k.choices[namespace], k.profiles.first)
	setting.Profile, setting.Ignored = profile.Choose(k.profiles, choice, pod.Metadata.Annotations[v1alpha1.ProfileAnnotation])
	return setting
}

// Close removes what was copied for it.
func (i Injector) Close() {
	if i.remove != nil {
		i.remove()
	}
}

// New reads the files, and asks the cluster for the profiles that the options name and for how its webhook is set up, as
// far as the options do not set it. It writes to standard error what it uses. An error has its exit code.
func (o Options) New(ctx context.Context, flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) (Injector, error) {
	if o.InitImage != "" {
		if err := imageconfig.CheckPullable(o.InitImage); err != nil {
			return Injector{}, exit.With(exit.Usage, fmt.Errorf("--init-image: %w", err))
		}
	}
	profiles, err := o.profiles(ctx, flags)
	if err != nil {
		return Injector{}, err
	}
	known := &known{profiles: profiles, architectures: o.Architectures}
	injector := Injector{known: known, Planner: admission.Planner{
		Config:  inject.Config{Image: o.InitImage, Version: version.Version, OpenShift: o.OpenShift, ExcludedNamespaces: excludedNamespaces},
		Setting: known.setting, LookupTimeout: lookupTimeout,
	}}
	cluster := o.cluster(ctx, flags, streams.ErrOut)
	if ctx.Err() != nil {
		return Injector{}, ctx.Err()
	}
	if cluster != nil {
		injector.Config.ExcludedNamespaces, injector.Config.Mirrors = cluster.excluded, cluster.mirrors
		injector.Config.OpenShift = o.OpenShift || cluster.openShift
		if o.InitImage == "" && cluster.initImage != "" {
			injector.Config.Image, injector.Config.Version = cluster.initImage, cmp.Or(cluster.version, version.Version)
		}
	}
	if injector.Config.Image == "" {
		injector.Config.Image = ownInitImage()
	}
	injector.Images, injector.remove, err = o.images(cluster, streams.ErrOut)
	if err != nil {
		return Injector{}, err
	}
	return injector, nil
}

// cluster is how the cluster's webhook is set up; nil if that is not known or not wanted. It writes to errOut
func (o Options) cluster(ctx context.Context, flags *genericclioptions.ConfigFlags, errOut io.Writer) *setup {
	assumed := o.assumed()
	switch {
	case o.Offline:
		note(errOut, "--offline asks neither registries nor a cluster; assumed: "+assumed)
		return nil
	case o.InitImage != "" && o.RegistryConfig != "":
		return nil
	}
	cluster, err := ask(ctx, flags)
	if err != nil {
		if ctx.Err() == nil {
			note(errOut, fmt.Sprintf("how podinit is set up in the cluster is not known (%v); assumed: %s", err, assumed))
		}
		return nil
	}
	note(errOut, cluster.used(o.InitImage == "", o.RegistryConfig == ""))
	if o.RegistryConfig == "" {
		for _, problem := range cluster.problems {
			note(errOut, problem+"; its settings do not count here")
		}
	}
	if said := cmp.Or(cluster.version, "of an unknown version"); said != version.Version {
		note(errOut, fmt.Sprintf("this program has version %s and the cluster's webhook %s: the webhook may decide differently",
			version.Version, said))
	}
	return cluster
}

// profiles are those that are known, and the one that holds where a Pod names none.
type profiles struct {
	first string
	specs map[string]*v1alpha1.InitProfileSpec
}

// Get is a profile.Profiles.
func (p *profiles) Get(name string) (*v1alpha1.InitProfileSpec, error) {
	if spec := p.specs[name]; spec != nil {
		return spec, nil
	}
	return nil, profile.ErrMissing
}

func (o Options) profiles(ctx context.Context, flags *genericclioptions.ConfigFlags) (*profiles, error) {
	all := &profiles{specs: map[string]*v1alpha1.InitProfileSpec{}}
	for _, name := range o.Profiles {
		text, err := readFile(name)
		var found []v1alpha1.InitProfile
		if err == nil {
			found, err = profile.Parse(name, text)
		}
		if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/\\") {
			found, err = o.clusterProfile(ctx, flags, name)
		} else {
			err = exit.With(exit.Usage, err)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if _, err := profile.New(p.Name, p.Spec); err != nil {
				return nil, exit.With(exit.Usage, fmt.Errorf("InitProfile %q in %s: %w", p.Name, name, err))
			}
			if all.first == "" {
				all.first = p.Name
			}
			all.specs[p.Name] = &p.Spec
		}
	}
	return all, nil
}

// maxFile bounds a file that is read, in bytes.
const maxFile = 4 << 20

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	return text, err
}

func (o Options) clusterProfile(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) ([]v1alpha1.InitProfile, error) {
	if o.Offline {
		return nil, exit.With(exit.Usage,
			fmt.Errorf("there is no file %s, and --offline does not ask a cluster: use a file with an InitProfile", name))
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("there is no file %s, and InitProfile %q cannot be read from the cluster: %w", name, name, err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("there is no file %s, and InitProfile %q cannot be read from the cluster: %w", name, name, err)
	}
	var p v1alpha1.InitProfile
	switch err := c.Get(ctx, types.NamespacedName{Name: name}, &p); {
	case apierrors.IsNotFound(err):
		return nil, exit.With(exit.Usage,
			fmt.Errorf("there is neither a file nor an InitProfile named %s; kubectl get initprofiles lists those of the cluster", name))
	case err != nil:
		return nil, fmt.Errorf("there is no file %s, and InitProfile %q cannot be read from the cluster: %w", name, name, err)
	}
	return []v1alpha1.InitProfile{p}, nil
}

// images is where it is looked up what images run, as the cluster's webhook does if that is not nil. remove removes what was
// copied for that; it may be nil.
func (o Options) images(cluster *setup, errOut io.Writer) (found imageconfig.Source, remove func(), err error) {
	given, err := readImages(o.ImageConfigs)
	if err != nil {
		return nil, nil, exit.With(exit.Usage, err)
	}
	source := &source{given: given, progress: io.Discard, why: errOffline}
	if o.Offline {
		return source, nil, nil
	}
	if cluster != nil && !cluster.lookups {
		source.why = errNoLookups
		return source, nil, nil
	}
	registries, remove, err := o.registries(cluster, errOut)
	if err != nil {
		return nil, nil, exit.With(exit.Usage, err)
	}
	source.registries = imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	if output.IsTerminal(errOut) && !o.Quiet {
		source.progress = errOut
	}
	return source, remove, nil
}

// registries are asked as a file says, or else as the cluster's webhook asks them.
func (o Options) registries(cluster *setup, errOut io.Writer) (registries *registry.Registries, remove func(), err error) {
	var config registry.Config
	switch {
	case o.RegistryConfig != "":
		if config, err = registry.ReadConfig(o.RegistryConfig); err != nil {
			return nil, nil, err
		}
	case cluster != nil && cluster.registries != nil:
		file, remove, err := cluster.write()
		if err != nil {
			return nil, nil, err
		}
		if config, err = registry.ReadConfig(file); err == nil {
			registries, err = registry.New(config, nil, time.Now)
		}
		if err == nil {
			registries.Keychain = unlessUnprotected(config.Registries, cluster.files)
			return registries, remove, nil
		}
		remove()
		note(errOut, fmt.Sprintf("the cluster's registry configuration cannot be used here, and is ignored: %v", err))
		config = registry.Config{}
	}
	if cluster == nil || cluster.registries != nil || cluster.unread || o.RegistryConfig != "" {
		// Here the user alone chooses the registries, and could ask them without podinit.
		config.PrivateNetworks = append(config.PrivateNetworks, "0.0.0.0/0", "::/0")
	}
	if registries, err = registry.New(config, nil, time.Now); err != nil {
		return nil, nil, err
	}
	registries.Keychain = authn.DefaultKeychain
	return registries, nil, nil
}
