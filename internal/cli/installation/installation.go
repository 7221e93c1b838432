// Package installation finds podinit's webhook in a cluster, and reads how it is set up: its flags, and the files that they
// name, as far as these are in ConfigMaps and Secrets.
package installation

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// Selector is what the webhook's objects are labelled with, wherever they are installed.
	Selector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=webhook"
	// Namespace is where it is installed by default.
	Namespace = "podinit-system"
	// Container is the one of the Deployment in which the webhook runs.
	Container = "webhook"
)

// ErrMissing is returned where there is no webhook.
var ErrMissing = errors.New("podinit is not installed: no deployment is labelled " + Selector)

// FindAnywhere is the webhook's Deployment, in any namespace.
func FindAnywhere(ctx context.Context, client kubernetes.Interface) (*appsv1.Deployment, error) {
	return Anywhere(func(namespace string) (*appsv1.Deployment, error) { return Find(ctx, client, namespace) }, Namespace)
}

// Anywhere is what find returns for all namespaces. A user that may not list objects of all namespaces may be allowed to list
// those of the usual ones, so these are tried then.
func Anywhere[T any](find func(namespace string) (*T, error), usual ...string) (*T, error) {
	found, err := find(metav1.NamespaceAll)
	if !apierrors.IsForbidden(err) {
		return found, err
	}
	for _, namespace := range usual {
		if there, _ := find(namespace); there != nil {
			return there, nil
		}
	}
	return nil, err
}

// Find is the webhook's Deployment in a namespace; in any if that is empty. It returns ErrMissing if there is none.
func Find(ctx context.Context, client kubernetes.Interface, namespace string) (*appsv1.Deployment, error) {
	return FindLabelled(ctx, client, namespace, Selector)
}

// FindLabelled is the Deployment of podinit's with these labels, as Find.
func FindLabelled(ctx context.Context, client kubernetes.Interface, namespace, selector string) (*appsv1.Deployment, error) {
	found, err := client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	switch {
	case err != nil:
		return nil, err
	case len(found.Items) == 0:
		return nil, ErrMissing
	}
	return &found.Items[0], nil
}

// ContainerOf is the webhook's container; an empty one if there is none.
func ContainerOf(d *appsv1.Deployment) *corev1.Container {
	containers := d.Spec.Template.Spec.Containers
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == Container }); i >= 0 {
		return &containers[i]
	}
	if len(containers) > 0 {
		return &containers[0]
	}
	return &corev1.Container{}
}

// Enabled says whether a flag of the webhook without a value, or with true or false behind "=", is set; the last one counts.
func Enabled(d *appsv1.Deployment, name string) bool { return EnabledIn(ContainerOf(d), name) }

// EnabledIn is Enabled for a program's container.
func EnabledIn(container *corev1.Container, name string) (enabled bool) {
	for _, arg := range slices.Concat(container.Command, container.Args) {
		key, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if !strings.HasPrefix(arg, "-") || key != name {
			continue
		}
		parsed, err := strconv.ParseBool(value)
		enabled = !given || err == nil && parsed
	}
	return enabled
}

// Flag is the value of a flag of the webhook, the last one as for the webhook itself; empty if it is not given.
func Flag(d *appsv1.Deployment, name string) (value string) {
	container := ContainerOf(d)
	args := slices.Concat(container.Command, container.Args)
	for i, arg := range args {
		said, isFlag := strings.CutPrefix(arg, "-")
		said = strings.TrimPrefix(said, "-")
		switch key, given, found := strings.Cut(said, "="); {
		case !isFlag || key != name:
		case found:
			value = given
		case i+1 < len(args):
			value = args[i+1]
		}
	}
	return value
}

// Image of the webhook; empty if the Deployment has no container.
func Image(d *appsv1.Deployment) string { return ContainerOf(d).Image }

// InitImage is what the webhook gives to pods; empty if the Deployment does not say it.
func InitImage(d *appsv1.Deployment) string {
	if image := Flag(d, "init-image"); image != "" {
		return image
	}
	for _, variable := range ContainerOf(d).Env {
		if variable.Name == "PODINIT_INIT_IMAGE" {
			return variable.Value
		}
	}
	return ""
}

// VolumeAt is the volume that holds a file or directory of the webhook's container, and the path in it, "." for the whole
// volume; nil if none does.
func VolumeAt(d *appsv1.Deployment, at string) (volume *corev1.Volume, in string) {
	if !path.IsAbs(at) {
		return nil, ""
	}
	longest := -1
	for _, mount := range ContainerOf(d).VolumeMounts {
		mounted := path.Clean(mount.MountPath)
		below, ok := strings.CutPrefix(path.Clean(at), strings.TrimSuffix(mounted, "/"))
		if !ok || below != "" && below[0] != '/' || len(mounted) <= longest {
			continue
		}
		volumes := d.Spec.Template.Spec.Volumes
		if i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }); i >= 0 {
			volume, in, longest = &volumes[i], path.Join(".", mount.SubPath, below), len(mounted)
		}
	}
	return volume, in
}

// Files are the files at a path of the webhook's container: by their paths below it, or one at "." if it is a file. They
// are read from the ConfigMaps and Secrets that are mounted there; what else may be there cannot be read from outside.
func Files(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment, at string) (map[string][]byte, error) {
	volume, in := VolumeAt(d, at)
	if volume == nil {
		return nil, fmt.Errorf("%s is not in a volume of deployment %s, so this program cannot read it", at, d.Name)
	}
	all, err := contents(ctx, client, d.Namespace, volume)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", at, err)
	}
	files := map[string][]byte{}
	for name, content := range all {
		name = path.Clean(name)
		switch below, ok := strings.CutPrefix(name, in+"/"); {
		case in == ".":
			files[name] = content
		case name == in:
			files["."] = content
		case ok:
			files[below] = content
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s is not in volume %s of deployment %s", at, volume.Name, d.Name)
	}
	return files, nil
}

// contents are the files of a volume.
func contents(ctx context.Context, client kubernetes.Interface, namespace string, v *corev1.Volume) (map[string][]byte, error) {
	files := map[string][]byte{}
	add := func(all map[string][]byte, items []corev1.KeyToPath) {
		for key, content := range all {
			if items == nil {
				files[key] = content
			}
			for _, item := range items {
				if item.Key == key {
					files[item.Path] = content
				}
			}
		}
	}
	configMap := func(name string, items []corev1.KeyToPath, optional *bool) error {
		found, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return unlessOptional(err, optional)
		}
		all := found.BinaryData
		if all == nil {
			all = map[string][]byte{}
		}
		for key, text := range found.Data {
			all[key] = []byte(text)
		}
		add(all, items)
		return nil
	}
	secret := func(name string, items []corev1.KeyToPath, optional *bool) error {
		found, err := client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return unlessOptional(err, optional)
		}
		add(found.Data, items)
		return nil
	}
	switch {
	case v.ConfigMap != nil:
		return files, configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		return files, secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			var err error
			switch {
			case source.ConfigMap != nil:
				err = configMap(source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
			case source.Secret != nil:
				err = secret(source.Secret.Name, source.Secret.Items, source.Secret.Optional)
			}
			if err != nil {
				return nil, err
			}
		}
		return files, nil
	case v.HostPath != nil:
		return nil, fmt.Errorf("volume %s is a directory of the node, %s, which this program cannot read", v.Name, v.HostPath.Path)
	}
	return nil, fmt.Errorf("volume %s comes neither from a ConfigMap nor from a Secret, so this program cannot read it", v.Name)
}

func unlessOptional(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
