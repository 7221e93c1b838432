package node

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

func decider() Decider {
	return Decider{
		Config:  inject.Config{ExcludedNamespaces: inject.SystemNamespaces},
		Setting: func(namespace string, _ *inject.Pod) inject.Setting { return inject.Setting{Namespace: namespace} },
	}
}

// pod is a Pod that has opted in.
func pod(change func(*api.PodSandbox)) *api.PodSandbox {
	p := &api.PodSandbox{
		Id: "sandbox", Name: "web", Namespace: "shop", Uid: "1", Pid: 41,
		Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled},
		Linux:  &api.LinuxPodSandbox{Namespaces: []*api.LinuxNamespace{{Type: "network", Path: "/run/netns/x"}, {Type: "pid"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

// container is one as containerd describes it.
func container(change func(*api.Container)) *api.Container {
	c := &api.Container{
		Id: "c1", PodSandboxId: "sandbox", Name: "app", Args: []string{"/bin/sh", "-c", "echo $HOME $$"},
		Annotations: map[string]string{
			"io.kubernetes.container.restartCount": "0", terminationMessagePath: "/dev/termination-log", terminationMessagePolicy: "File",
			terminationGracePeriod: "60",
		},
		Mounts: []*api.Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/etc/hosts", Type: "bind"}},
		Linux:  &api.LinuxContainer{Namespaces: []*api.LinuxNamespace{{Type: "pid"}, {Type: "mount"}}},
	}
	if change != nil {
		change(c)
	}
	return c
}

func TestDecide(t *testing.T) {
	shell := []string{"/bin/sh", "-c", "echo $HOME $$"}
	wrapped := func(flags ...string) []string {
		return append(append(append([]string{inject.InitPath}, flags...), "--"), shell...)
	}
	usual := wrapped("--grace=1m", "--termination-message=/dev/termination-log")
	memory := func(limit int64) *api.LinuxResources {
		return &api.LinuxResources{Memory: &api.LinuxMemory{Limit: api.Int64(limit)}}
	}
	for name, tt := range map[string]struct {
		pod       func(*api.PodSandbox)
		container func(*api.Container)
		want      []string
		reason    v1alpha1.Reason
	}{
		"usual":        {want: usual},
		"not opted in": {pod: func(p *api.PodSandbox) { p.Labels = nil }, reason: v1alpha1.ReasonNotOptedIn},
		"opted in by annotation": {
			pod:  func(p *api.PodSandbox) { p.Annotations, p.Labels = p.Labels, nil },
			want: usual,
		},
		"system namespace": {pod: func(p *api.PodSandbox) { p.Namespace = "kube-system" }, reason: v1alpha1.ReasonExcludedNamespace},
		"no grace period known": {
			container: func(c *api.Container) { delete(c.Annotations, terminationGracePeriod) },
			want:      wrapped("--grace=30s", "--termination-message=/dev/termination-log"),
		},
		"broken grace period": {
			container: func(c *api.Container) { c.Annotations[terminationGracePeriod] = "soon" },
			want:      wrapped("--grace=30s", "--termination-message=/dev/termination-log"),
		},
		"sleeps before it stops": {
			container: func(c *api.Container) {
				c.Annotations[preStopHandler] = `{"exec":{"command":["/bin/sh","-c","sleep 15"]}}`
			},
			want: wrapped("--grace=45s", "--termination-message=/dev/termination-log"),
		},
		"termination message in the log": {
			container: func(c *api.Container) { c.Annotations[terminationMessagePolicy] = "FallbackToLogsOnError" },
			want:      wrapped("--grace=1m"),
		},
		"termination message elsewhere": {
			container: func(c *api.Container) { c.Annotations[terminationMessagePath] = "/tmp/why" },
			want:      wrapped("--grace=1m", "--termination-message=/tmp/why"),
		},
		"wrapped already": {
			container: func(c *api.Container) {
				c.Args, c.Mounts = append([]string{inject.InitPath, "--"}, c.Args...), append(c.Mounts, &api.Mount{Destination: inject.MountPath})
			},
			reason: v1alpha1.ReasonAlreadyInit,
		},
		"something else at our path": {
			container: func(c *api.Container) { c.Mounts = append(c.Mounts, &api.Mount{Destination: "/podinit/"}) },
			reason:    v1alpha1.ReasonMountConflict,
		},
		"a root that is mounted": {
			container: func(c *api.Container) { c.Mounts = append(c.Mounts, &api.Mount{Destination: "/"}) },
			reason:    v1alpha1.ReasonMountConflict,
		},
		"little memory":     {container: func(c *api.Container) { c.Linux.Resources = memory(4 << 20) }, reason: v1alpha1.ReasonMemoryLimitTooSmall},
		"little in the pod": {pod: func(p *api.PodSandbox) { p.Linux.PodResources = memory(4 << 20) }, reason: v1alpha1.ReasonMemoryLimitTooSmall},
		"no limit at all":   {container: func(c *api.Container) { c.Linux.Resources = memory(0) }, want: usual},
		"seccomp from a file": {container: func(c *api.Container) {
			c.Linux.SeccompProfile = &api.SecurityProfile{ProfileType: api.SecurityProfile_LOCALHOST}
		}, reason: v1alpha1.ReasonLocalhostProfile},
		"seccomp of the runtime": {
			container: func(c *api.Container) { c.Linux.SeccompProfile = &api.SecurityProfile{} },
			want:      usual,
		},
		"WebAssembly": {pod: func(p *api.PodSandbox) { p.RuntimeHandler = "wasmtime" }, reason: v1alpha1.ReasonWasm},
		"the node's PID namespace": {
			pod:       func(p *api.PodSandbox) { p.Linux.Namespaces = p.Linux.Namespaces[:1] },
			container: func(c *api.Container) { c.Linux.Namespaces[0].Path = "/proc/41/ns/pid" },
			reason:    v1alpha1.ReasonHostPID,
		},
		"a PID namespace that the pod shares": {
			container: func(c *api.Container) { c.Linux.Namespaces[0].Path = "/proc/41/ns/pid" },
			reason:    v1alpha1.ReasonSharedProcesses,
		},
		"a PID namespace that the pod shares, and the container is chosen": {
			pod:       func(p *api.PodSandbox) { p.Annotations = map[string]string{v1alpha1.ContainersAnnotation: "app"} },
			container: func(c *api.Container) { c.Linux.Namespaces[0].Path = "/proc/41/ns/pid" },
			want:      usual,
		},
		"another container's PID namespace": {
			container: func(c *api.Container) { c.Linux.Namespaces[0].Path = "/proc/77/ns/pid" },
			reason:    v1alpha1.ReasonPIDNamespace,
		},
		"nothing to run": {container: func(c *api.Container) { c.Args = nil }, reason: v1alpha1.ReasonNoProgram},
	} {
		t.Run(name, func(t *testing.T) {
			p, c := pod(tt.pod), container(tt.container)
			podBefore, containerBefore := proto.Clone(p), proto.Clone(c)
			v := decider().Decide(p, c)
			if v.Reason != tt.reason {
				t.Errorf("reason %q (%s), want %q", v.Reason, v.Detail, tt.reason)
			}
			if diff := cmp.Diff(tt.want, v.Args); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
			}
			if a := v.Adjustment("/var/lib/podinit/v1"); (a == nil) != (tt.reason != "") {
				t.Errorf("adjustment %v", a)
			}
			if !proto.Equal(podBefore, p) || !proto.Equal(containerBefore, c) {
				t.Error("the request is changed")
			}
		})
	}
}

// A runtime may leave out anything.
func TestDecideNothing(t *testing.T) {
	if v := decider().Decide(nil, nil); v.Reason != v1alpha1.ReasonNotOptedIn {
		t.Errorf("reason %q", v.Reason)
	}
	if v := decider().Decide(&api.PodSandbox{Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}}, nil); v.Reason != v1alpha1.ReasonNoProgram {
		t.Errorf("reason %q", v.Reason)
	}
}

func TestAdjustment(t *testing.T) {
	v := decider().Decide(pod(nil), container(nil))
	want := &api.ContainerAdjustment{
		// The empty word releases the claim of a plugin that has changed the argv before.
		Args: append([]string{""}, v.Args...),
		Mounts: []*api.Mount{{
			Destination: "/podinit", Type: "bind", Source: "/var/lib/podinit/v1", Options: []string{"bind", "ro", "nosuid", "nodev", "rprivate"},
		}},
	}
	if got := v.Adjustment("/var/lib/podinit/v1"); !proto.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUses(t *testing.T) {
	const root = "/var/lib/podinit"
	for source, want := range map[string]string{
		root + "/v1": "v1", root + "/v1/": "v1", root: "", root + "/v1/init": "", "/var/lib/kubelet/pods/1/volumes/podinit": "", root + "/../x": "",
		"/var/lib/podinit-other/v1": "", "": "", "relative": "",
	} {
		c := container(func(c *api.Container) {
			c.Mounts = append(c.Mounts, &api.Mount{Destination: "/data", Source: root + "/v0"}, &api.Mount{Destination: inject.MountPath, Source: source})
		})
		if got := Uses(c, root); got != want {
			t.Errorf("mount of %q: %q, want %q", source, got, want)
		}
	}
	if got := Uses(container(nil), root); got != "" {
		t.Errorf("without a mount: %q", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	d, p, c := decider(), pod(nil), container(nil)
	for b.Loop() {
		d.Decide(p, c).Adjustment("/var/lib/podinit/v1")
	}
}

// What the init's mount would hide cannot be started behind it.
func TestDecideBelowMount(t *testing.T) {
	for _, program := range []string{"/podinit/app", "/podinit/../podinit/app", "//podinit//app"} {
		v := decider().Decide(pod(nil), container(func(c *api.Container) { c.Args = []string{program} }))
		if v.Reason != v1alpha1.ReasonMountConflict {
			t.Errorf("%s: reason %q, argv %q", program, v.Reason, v.Args)
		}
	}
}

// A reason is logged with every container, in a few lines at most.
func TestDetailIsBounded(t *testing.T) {
	v := decider().Decide(pod(func(p *api.PodSandbox) {
		p.Annotations = map[string]string{v1alpha1.FlagsAnnotation + "app": "--" + strings.Repeat("ä", 100_000)}
	}), container(nil))
	if v.Reason != v1alpha1.ReasonInvalidFlags || len(v.Detail) > 1000 || !utf8.ValidString(v.Detail) {
		t.Errorf("%s with %d bytes", v.Reason, len(v.Detail))
	}
}
