package plugin

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/podinit/podinit/internal/inject"
)

// A container's argv keeps no plugin from registering, nor the node's other containers from being wrapped.
func TestSlowArgv(t *testing.T) {
	var args []string
	for range 32 {
		args = append(append(args, "env"), slices.Repeat([]string{"-S", "-i"}, 31)...)
	}
	args = append(args, slices.Repeat([]string{"x"}, 100_000)...)
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, map[string]*api.Container{
		"1": {Id: "1", PodSandboxId: pod.Id, Name: "app", Args: args, State: api.ContainerState_CONTAINER_RUNNING},
	})
	for deadline := time.Now().Add(15 * time.Second); p.Ready(nil) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a container that runs keeps the plugin from registering: %v", p.Ready(nil))
		}
	}
	if c := r.create("2", "app"); !wrapped(c) {
		t.Error("not wrapped")
	}
}

// slowList is a plugin that stays with a runtime's list of one container until free is closed, and with whatever it is asked while slow is set.
func slowList(t *testing.T) (p *Plugin, r *nri, slow *atomic.Bool, free chan struct{}) {
	t.Helper()
	slow, free = &atomic.Bool{}, make(chan struct{})
	slow.Store(true)
	p, _, _ = run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			if slow.Load() {
				<-free
			}
			return inject.Setting{Namespace: namespace}
		}
	})
	before := &api.Container{Id: "1", PodSandboxId: pod.Id, Name: "app", Args: []string{"app"}, State: api.ContainerState_CONTAINER_RUNNING}
	return p, listen(t, p.Socket, map[string]*api.Container{"1": before}), slow, free
}

// A list that is dealt with after its connection has ended is not a registration.
func TestLateSynchronize(t *testing.T) {
	p, r, slow, free := slowList(t)
	time.Sleep(requestTimeout / 2) // the runtime waits for the answer to its list
	r.stop()                       // and ends
	unready(t, p, "no such file or directory")
	slow.Store(false)
	close(free)
	time.Sleep(200 * time.Millisecond)
	if p.Ready(nil) == nil || value(p.Metrics.registered) != 0 {
		t.Error("ready without a runtime")
	}
}

// The same where the runtime is there again: the old list is not taken for the new one.
func TestLateSynchronizeOverwrites(t *testing.T) {
	p, r, slow, free := slowList(t)
	time.Sleep(requestTimeout / 2)
	slow.Store(false) // what comes later is quick
	ready(t, p)       // the runtime has given up the first connection, and the plugin has registered again
	if c := r.create("2", "app"); !wrapped(c) {
		t.Error("not wrapped")
	}
	close(free) // the first list's handler goes on
	time.Sleep(200 * time.Millisecond)
	if c := r.create("3", "app"); !wrapped(c) {
		t.Errorf("not wrapped by a plugin whose readiness says %v; late: %v", p.Ready(nil), value(p.Metrics.late))
	}
}

// A mistake of podinit's own about one container that exists does not concern the others.
func TestPanicInList(t *testing.T) {
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, of *inject.Pod) inject.Setting {
			if of.Spec.Containers[0].Name == "bad" {
				panic("a mistake")
			}
			return inject.Setting{Namespace: namespace}
		}
	})
	bad := &api.Container{Id: "1", PodSandboxId: pod.Id, Name: "bad", Args: []string{"app"}, State: api.ContainerState_CONTAINER_RUNNING}
	r := listen(t, p.Socket, map[string]*api.Container{"1": bad})
	await(t, "it panics", func() bool { return value(p.Metrics.panics) > 0 })
	time.Sleep(100 * time.Millisecond)
	if err := p.Ready(nil); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if c := r.create("2", "app"); !wrapped(c) {
		t.Error("another container is not wrapped")
	}
}

// laterPlugin sets the argv, or with update takes it over from the plugin that has set it.
type laterPlugin struct{ update bool }

func (l laterPlugin) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a := &api.ContainerAdjustment{}
	if l.update {
		a.UpdateArgs([]string{"/proxy", "app"})
	} else {
		a.SetArgs([]string{"/proxy", "app"})
	}
	return a, nil, nil
}

func later(t *testing.T, p *Plugin, l laterPlugin) {
	t.Helper()
	other, err := stub.New(l, stub.WithPluginName("proxy"), stub.WithPluginIdx("99"), stub.WithSocketPath(p.Socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	time.Sleep(200 * time.Millisecond)
}

// A later plugin that takes the argv over is not the runtime's fault.
func TestLaterPlugin(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	later(t, p, laterPlugin{update: true})
	if c := r.create("1", "app"); !slices.Contains(c.Args, "/proxy") {
		t.Fatalf("argv %q", c.Args)
	}
	time.Sleep(2 * closeTimeout)
	if err := p.Ready(nil); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if value(p.Metrics.missed) != 1 {
		t.Error("the container is not counted")
	}
}

// A container that the runtime fails after it has asked does not stay. CRI-O says nothing of it (server/container_create.go:
// createContainer returns before it defers undoCreateContainer), and the kubelet tries again, each time with another ID.
func TestFailedLater(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	later(t, p, laterPlugin{})
	for i := range 1000 {
		c := &api.Container{Id: fmt.Sprint(i), PodSandboxId: pod.Id, Name: "app", Args: []string{"app"}}
		block := r.BlockPluginSync()
		_, err := r.CreateContainer(t.Context(), &api.CreateContainerRequest{Pod: pod, Container: c})
		block.Unblock()
		if err == nil {
			t.Fatal("no conflict")
		}
	}
	if got := p.Report(""); len(got.Containers) > 1 || got.Counts.Wrapped > 1 {
		t.Errorf("%d containers of one that never was, %d of them wrapped", len(got.Containers), got.Counts.Wrapped)
	}
}

// containerd tells that a container has ended by a goroutine of its own (internal/nri, NotifyContainerExit), which may come before
// what tells that it has started.
func TestEndsBeforeStarted(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	c := r.createOnly("1", "app")
	if _, err := r.StopContainer(t.Context(), &api.StopContainerRequest{Pod: pod, Container: c}); err != nil {
		t.Fatal(err)
	}
	r.start(c)
	if got := p.Report("").Counts; got.Wrapped != 0 {
		t.Errorf("%+v of a container that has ended", got)
	}
}

// listing is a runtime with these Pods and containers.
func listing(t *testing.T, socket string, pods []*api.PodSandbox, containers []*api.Container) {
	t.Helper()
	a, err := adaptation.New("test", "2.4.2", func(ctx context.Context, sync adaptation.SyncCB) error {
		_, err := sync(ctx, pods, containers)
		return err
	}, func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil },
		adaptation.WithSocketPath(socket), adaptation.WithPluginPath(t.TempDir()), adaptation.WithPluginConfigPath(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
}

// What is large in a container and of no interest is not kept until the whole list is there.
func TestHugeList(t *testing.T) {
	adaptation.SetPluginRequestTimeout(25 * time.Second) // this is about memory
	defer adaptation.SetPluginRequestTimeout(requestTimeout)
	var pods []*api.PodSandbox
	var all []*api.Container
	for i := range 100 {
		pods = append(pods, &api.PodSandbox{Id: fmt.Sprint(i), Name: "web", Namespace: "shop", Labels: pod.Labels})
		for n := range 5 { // 500 containers, with 200 KB each
			all = append(all, &api.Container{Id: fmt.Sprint(i, n), PodSandboxId: fmt.Sprint(i), Name: "app", Args: []string{"app"},
				Env: slices.Repeat([]string{"E=" + strings.Repeat("x", 10_000)}, 20), State: api.ContainerState_CONTAINER_RUNNING})
		}
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var live atomic.Int64
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			if live.Load() == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				live.Store(int64(m.HeapAlloc) - int64(before.HeapAlloc))
			}
			return inject.Setting{Namespace: namespace}
		}
	})
	listing(t, p.Socket, pods, all)
	ready(t, p)
	if m := live.Load() >> 20; m > 16 {
		t.Errorf("%d MiB of a list are kept", m)
	}
}

// A version that a container is being created with stays, on a runtime that creates while a plugin registers (CRI-O).
func TestVersionOfOneBeingCreated(t *testing.T) {
	old, _, stopOld := run(t, nil)
	r := listen(t, old.Socket, nil)
	ready(t, old)
	c := r.createOnly("1", "app")
	delete(r.containers, "1") // not on the list yet
	p, _, _ := run(t, func(p *Plugin) {
		p.Socket, p.Directory, p.Program, p.Version = old.Socket, old.Directory, program(t, "v2"), "v2"
	})
	ready(t, p)
	stopOld()
	p.collect()
	if _, err := os.Stat(c.Mounts[0].Source); err != nil {
		t.Errorf("the version of a container that is about to start: %v", err)
	}
}

// What was created while podinit was suspended does not count as missed, also when the runtime has been restarted since.
func TestSuspendedIsNotMissed(t *testing.T) {
	var suspended atomic.Bool
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			return inject.Setting{Namespace: namespace, Suspended: suspended.Load()}
		}
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	suspended.Store(true)
	r.create("1", "app")
	suspended.Store(false)
	r.stop()
	unready(t, p, "not registered with the container runtime")
	listen(t, p.Socket, r.containers)
	ready(t, p)
	if got := value(p.Metrics.missed); got != 0 {
		t.Errorf("%v missed", got)
	}
}

// A container is missed once, however often the plugin registers.
func TestMissedOnce(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, map[string]*api.Container{
		"1": {Id: "1", PodSandboxId: pod.Id, Name: "app", Args: []string{"app"}, State: api.ContainerState_CONTAINER_RUNNING},
	})
	ready(t, p)
	for range 3 {
		r.stop()
		unready(t, p, "not registered with the container runtime")
		r = listen(t, p.Socket, r.containers)
		ready(t, p)
	}
	if got := value(p.Metrics.missed); got != 1 {
		t.Errorf("%v missed, of one container", got)
	}
}
