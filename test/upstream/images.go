package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	releaseimage "github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
)

// The images that specs name are in test/utils/image/manifest.go of Kubernetes. There they are made of Alpine, here of the same programs
// of Debian: busybox, and what agnhost's Dockerfile adds.
const (
	agnhost = "e2e-test-images/agnhost:2.63.0"
	// busyboxSuite has the version of busybox that the specs name.
	busyboxSuite = "trixie"
)

// image is one of them, or several that differ in their names alone.
type image struct {
	names    []string
	packages []string
	files    []debianimage.File
	users    []debianimage.User
	config   v1.Config
}

// nginxConfig has what Debian's nginx keeps in directories that a maintainer script makes in /tmp.
const nginxConfig = `pid /tmp/nginx.pid; error_log stderr notice;
events {} http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
scgi_temp_path /tmp/s; server { listen 80; root /usr/share/nginx/html; } }
`

// pushImages makes the images that specs name, and that of CoreDNS, and pushes them to the cluster's registry.
func pushImages(ctx context.Context, w io.Writer, programs, clusterPrograms, dnsImage string) error {
	cache, err := debianimage.UserCache(w)
	if err != nil {
		return err
	}
	cache = cache.Other(runtime.GOARCH, busyboxSuite)
	program := func(directory, name, path string, mode os.FileMode) debianimage.File {
		content, readErr := os.ReadFile(filepath.Join(directory, name))
		err = errors.Join(err, readErr)
		return debianimage.File{Path: path, Mode: mode, Content: string(content)}
	}
	images := []image{{
		names:    []string{agnhost, "e2e-test-images/agnhost:2.55"},
		packages: []string{"bind9-dnsutils", "curl", "iproute2", "libc-bin", "netcat-openbsd", "util-linux"},
		files: []debianimage.File{
			program(programs, "agnhost", "/agnhost", 0o755),
			{Path: "/agnhost-2", Mode: os.ModeSymlink | 0o777, Content: "agnhost"},
			program(programs, "localhost.crt", "/localhost.crt", 0o644),
			program(programs, "localhost.key", "/localhost.key", 0o644),
			{Path: "/uploads", Mode: os.ModeDir | 0o755},
			// Debian's alternatives are links that a maintainer script makes.
			{Path: "/usr/bin/nc", Mode: os.ModeSymlink | 0o777, Content: "nc.openbsd"},
		},
		config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}},
	}, {
		names: []string{"e2e-test-images/busybox:1.37.0-1"},
		// The specs want messages of /bin/sh to be worded as busybox words them.
		files: []debianimage.File{
			{Path: "/bin/sh", Mode: os.ModeSymlink | 0o777, Content: "busybox"},
			{Path: "/usr/local/bin/sh", Mode: os.ModeSymlink | 0o777, Content: "/bin/bash"},
		},
		config: v1.Config{Cmd: []string{"sh"}},
	}, {
		names:  []string{"e2e-test-images/nonroot:1.5"},
		config: v1.Config{Cmd: []string{"sh"}, User: "1234"},
	}, {
		names:  []string{"e2e-test-images/nonewprivs:1.4"},
		files:  []debianimage.File{program(programs, "nonewprivs", "/usr/local/bin/nnp", os.ModeSetuid|os.ModeSetgid|0o755)},
		config: v1.Config{Cmd: []string{"nnp"}},
	}, {
		names:  []string{"pause:3.10.2"},
		files:  []debianimage.File{program(clusterPrograms, "pause", "/pause", 0o755)},
		config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
	}, {
		names:    []string{"e2e-test-images/nginx:1.15-4", "e2e-test-images/nginx:1.27-0"},
		packages: []string{"nginx"}, users: []debianimage.User{{Name: "www-data", ID: 33}},
		files: []debianimage.File{
			{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: nginxConfig},
			{Path: "/var/log/nginx", Mode: os.ModeDir | 0o755},
			{Path: "/var/lib/nginx", Mode: os.ModeDir | 0o755},
		},
		config: v1.Config{Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT"},
	}, {
		names:    []string{"e2e-test-images/glibc-dns-testing:2.0.0"},
		packages: []string{"bind9-dnsutils", "libc-bin"},
		config:   v1.Config{Cmd: []string{"bash"}},
	}, {
		names:  []string{dnsImage},
		files:  []debianimage.File{program(programs, "coredns", "/coredns", 0o755)},
		config: v1.Config{Entrypoint: []string{"/coredns"}},
	}}
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := i.push(ctx, cache); err != nil {
			return fmt.Errorf("the image %s: %w", i.names[0], err)
		}
	}
	return nil
}

// always are files of every image. The shell is bash: that of busybox passes no variables on that have a dash in their name, and prefers
// its own applets to programs of other packages.
var always = []debianimage.File{
	{Path: "/tmp", Mode: os.ModeDir | os.ModeSticky | 0o777},
	{Path: "/bin/sh", Mode: os.ModeSymlink | 0o777, Content: "bash"},
}

// push makes the image and pushes it.
func (i image) push(ctx context.Context, cache debianimage.Cache) error {
	spec := debianimage.Spec{Packages: append([]string{"bash", "busybox-static"}, i.packages...)}
	packages, err := cache.Build(ctx, spec)
	if err != nil {
		return err
	}
	links, err := busyboxLinks(ctx, packages)
	if err != nil {
		return err
	}
	spec.Files, spec.Users, spec.Config = slices.Concat(links, always, i.files), i.users, i.config
	made, err := cache.Build(ctx, spec)
	if err != nil {
		return err
	}
	for _, n := range i.names {
		to, err := name.NewTag(cluster.Registry+"/"+n, name.Insecure)
		if err != nil {
			return err
		}
		named, err := releaseimage.Named(made, to)
		if err != nil {
			return err
		}
		if _, err := debianimage.Push(ctx, to, named); err != nil {
			return err
		}
	}
	return nil
}

// busyboxLinks are links to an image's busybox, for what busybox can do and no package of the image has.
func busyboxLinks(ctx context.Context, of v1.Image) (links []debianimage.File, err error) {
	directory, err := os.MkdirTemp("", "upstream-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	busybox := filepath.Join(directory, "busybox")
	content := mutate.Extract(of)
	defer content.Close()
	files := tar.NewReader(content)
	has := map[string]bool{}
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		has[path.Base(header.Name)] = true
		if header.Name != "usr/bin/busybox" {
			continue
		}
		program, err := io.ReadAll(files)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(busybox, program, 0o755); err != nil {
			return nil, err
		}
	}
	list, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	for _, applet := range strings.Fields(string(list)) {
		if !has[applet] {
			links = append(links, debianimage.File{Path: "/usr/bin/" + applet, Mode: os.ModeSymlink | 0o777, Content: "busybox"})
		}
	}
	return links, nil
}
