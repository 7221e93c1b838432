// Package planner puts together what admission goes by, for commands that plan without it: a profile, what images run,
// the init's image. What it plans with is the webhook's own code.
package planner

import (
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
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/internal/version"
	"github.com/podinit/podinit/webhook"
)

// Options are the flags.
type Options struct {
	// Profiles are files with InitProfiles, or names of those in the cluster. The first is the namespace's choice.
	Profiles []string
	// ImageConfigs say what images run: IMAGE=PATH or a file with a map.
	ImageConfigs []string
	// RegistryConfig is the webhook's registry configuration.
	RegistryConfig string
	// Architectures of the cluster's nodes.
	Architectures []string
	// InitImage holds the init.
	InitImage string
	// Offline asks neither registry nor cluster.
	Offline bool
}

// AddFlags adds all of them.
func (o *Options) AddFlags(command *cobra.Command) {
	f := command.Flags()
	f.StringSliceVar(&o.Profiles, "profile", nil, "InitProfile: a `file`, or the name of one in the cluster. The first is taken for the\nnamespace's choice; further ones for pods that name them")
	f.StringSliceVar(&o.ImageConfigs, "image-config", nil, "what images run: `IMAGE=PATH`, with an image config as \"crane config\" prints it or a\ndirectory with an OCI layout; or a file with a map from images to image configs")
	f.StringVar(&o.RegistryConfig, "registry-config", "", "`file` with the webhook's registry configuration, for mirrors and CAs")
	f.StringSliceVar(&o.Architectures, "architectures", nil, "of the cluster's nodes, such as amd64,arm64: what an image runs on others does not count")
	f.StringVar(&o.InitImage, "init-image", "ghcr.io/podinit/init:"+version.Version, "`image` that holds the init; the cluster's own is shown by \"podinit version\"")
	f.BoolVar(&o.Offline, "offline", false, "ask no registry and no cluster")
	_ = command.MarkFlagFilename("registry-config", "yaml", "yml") // it fails only for flags that are not there
}

// excludedNamespaces are those that the webhook never touches unless it is told otherwise.
var excludedNamespaces = append([]string{"podinit-system"}, inject.SystemNamespaces...)

// lookupTime is how long one pod template may wait for its images; nobody's deadline is near.
const lookupTime = time.Minute

// New reads the files and asks the cluster for the profiles that the options name. An error has its exit code.
func (o Options) New(ctx context.Context, flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) (webhook.Injector, error) {
	if err := imageconfig.CheckPullable(o.InitImage); err != nil {
		return webhook.Injector{}, exit.With(exit.Usage, fmt.Errorf("--init-image: %w", err))
	}
	profiles, err := o.profiles(ctx, flags)
	if err != nil {
		return webhook.Injector{}, err
	}
	images, err := o.images(streams.ErrOut)
	if err != nil {
		return webhook.Injector{}, err
	}
	return webhook.Injector{
		Config: inject.Config{Image: o.InitImage, Version: version.Version, ExcludedNamespaces: excludedNamespaces},
		Images: images, LookupTime: lookupTime,
		Setting: func(_ context.Context, namespace string, pod *inject.Pod) inject.Setting {
			setting := inject.Setting{Namespace: namespace, Selected: true, Architectures: o.Architectures}
			setting.Profile, setting.Ignored = profile.Choose(profiles, profiles.first, pod.Metadata.Annotations[v1alpha1.ProfileAnnotation])
			return setting
		},
	}, nil
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
		found, err := readProfiles(name)
		if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/\\") {
			found, err = o.clusterProfile(ctx, flags, name)
		} else {
			err = exit.With(exit.Usage, err)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if _, err := inject.NewProfile(p.Name, p.Spec); err != nil {
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

// readProfiles are the InitProfiles in a file, of which there may be several.
func readProfiles(name string) (all []v1alpha1.InitProfile, err error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	for _, part := range strings.Split("\n"+string(text), "\n---") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		var p v1alpha1.InitProfile
		if err := yaml.Unmarshal([]byte(part), &p); err != nil {
			return nil, fmt.Errorf("reading the InitProfile in %s: %w", name, err)
		}
		if p.Kind == "" {
			continue // comments alone
		}
		if p.Kind != "InitProfile" || p.Name == "" {
			return nil, fmt.Errorf("%s has a %s named %q, and should have InitProfiles with names", name, p.Kind, p.Name)
		}
		if err := yaml.UnmarshalStrict([]byte(part), &p); err != nil {
			return nil, fmt.Errorf("reading InitProfile %q in %s: %w", p.Name, name, err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no InitProfile", name)
	}
	return all, nil
}

func (o Options) clusterProfile(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) ([]v1alpha1.InitProfile, error) {
	if o.Offline {
		return nil, exit.With(exit.Usage, fmt.Errorf("there is no file %s, and --offline asks no cluster: name a file with an InitProfile", name))
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("there is no file %s, so InitProfile %q is to be read from the cluster: %w", name, name, err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("there is no file %s, so InitProfile %q is to be read from the cluster: %w", name, name, err)
	}
	var p v1alpha1.InitProfile
	switch err := c.Get(ctx, types.NamespacedName{Name: name}, &p); {
	case apierrors.IsNotFound(err):
		return nil, exit.With(exit.Usage, fmt.Errorf("there is neither a file nor an InitProfile named %s; kubectl get initprofiles lists those of the cluster", name))
	case err != nil:
		return nil, fmt.Errorf("there is no file %s, and InitProfile %q cannot be read from the cluster: %w", name, name, err)
	}
	return []v1alpha1.InitProfile{p}, nil
}

// images is where it is looked up what images run.
func (o Options) images(errOut io.Writer) (imageconfig.Source, error) {
	given, err := readImages(o.ImageConfigs)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	source := &source{given: given, progress: io.Discard}
	if o.Offline {
		return source, nil
	}
	var config registry.Config
	if o.RegistryConfig != "" {
		if config, err = registry.ReadConfig(o.RegistryConfig); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
	}
	// Here nobody but the user chooses the registries, who could ask them anyway.
	config.PrivateNetworks = append(config.PrivateNetworks, "0.0.0.0/0", "::/0")
	registries, err := registry.New(config, nil, time.Now)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	registries.Keychain = authn.DefaultKeychain
	source.registries = imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	if output.IsTerminal(errOut) {
		source.progress = errOut
	}
	return source, nil
}
