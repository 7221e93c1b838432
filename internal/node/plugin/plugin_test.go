package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/nri/pkg/stub"
	"github.com/containerd/ttrpc"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/profile"
)

// requestTimeout is how long the runtimes of these tests wait for a plugin.
const requestTimeout = 500 * time.Millisecond

func TestMain(m *testing.M) {
	adaptation.SetPluginRequestTimeout(requestTimeout)
	adaptation.SetPluginRegistrationTimeout(2 * time.Second)
	os.Exit(m.Run())
}

// nri is NRI as container runtimes have it (package adaptation), without the runtime.
type nri struct {
	*adaptation.Adaptation
	t *testing.T
	// containers that exist.
	mu         sync.Mutex
	containers map[string]*api.Container

	front       net.Listener
	connections []net.Conn
	once        sync.Once
}

var pod = &api.PodSandbox{Id: "sandbox", Name: "web", Namespace: "shop", Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}}

// listen starts NRI at a socket, as a runtime that has containers already.
func listen(t *testing.T, socket string, containers map[string]*api.Container) *nri {
	t.Helper()
	r := &nri{t: t, containers: containers}
	if r.containers == nil {
		r.containers = map[string]*api.Container{}
	}
	none, behind := t.TempDir(), filepath.Join(t.TempDir(), "nri.sock")
	a, err := adaptation.New("test", "2.4.2", func(ctx context.Context, sync adaptation.SyncCB) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var all []*api.Container
		for _, c := range r.containers {
			all = append(all, c)
		}
		_, err := sync(ctx, []*api.PodSandbox{pod}, all)
		return err
	}, func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil },
		adaptation.WithSocketPath(behind), adaptation.WithPluginPath(none), adaptation.WithPluginConfigPath(none))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	r.Adaptation = a
	r.front, err = net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go r.forward(behind)
	t.Cleanup(r.stop)
	return r
}

// forward joins plugins with the real socket: only the end of its process closes a runtime's connections.
func (r *nri) forward(to string) {
	for {
		in, err := r.front.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.mu.Lock()
		r.connections = append(r.connections, in, out)
		r.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = in.Close()
				_ = out.Close()
			}()
		}
	}
}

// stop ends the runtime as its process would.
func (r *nri) stop() {
	r.once.Do(func() {
		_ = r.front.Close()
		r.Stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.connections {
			_ = c.Close()
		}
	})
}

// create creates a container, as it comes out of all plugins, and starts it.
func (r *nri) create(id string, args ...string) *api.Container {
	r.t.Helper()
	c := r.createOnly(id, args...)
	r.start(c)
	return c
}

func (r *nri) start(c *api.Container) {
	r.t.Helper()
	r.mu.Lock()
	c.State = api.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if err := r.PostStartContainer(r.t.Context(), &api.PostStartContainerRequest{Pod: pod, Container: c}); err != nil {
		r.t.Errorf("starting container %s: %v", c.Id, err)
	}
}

func (r *nri) createOnly(id string, args ...string) *api.Container {
	r.t.Helper()
	defer r.BlockPluginSync().Unblock()
	c := &api.Container{Id: id, PodSandboxId: pod.Id, Name: "app", Args: args, State: api.ContainerState_CONTAINER_CREATED}
	request := &api.CreateContainerRequest{Pod: pod, Container: c}
	answer, err := r.CreateContainer(r.t.Context(), request)
	if err != nil {
		r.t.Errorf("container %s fails: %v", id, err)
		return c
	}
	if a := answer.GetAdjust(); a != nil {
		if len(a.Args) > 0 {
			c.Args = a.Args
		}
		c.Mounts = append([]*api.Mount(nil), a.Mounts...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id] = c
	return c
}

func (r *nri) remove(id string) {
	r.t.Helper()
	r.mu.Lock()
	c := r.containers[id]
	delete(r.containers, id)
	r.mu.Unlock()
	if err := r.RemoveContainer(r.t.Context(), &api.RemoveContainerRequest{Pod: pod, Container: c}); err != nil {
		r.t.Errorf("removing container %s: %v", id, err)
	}
}

// run runs a plugin until the test ends, or stop is called.
func run(t *testing.T, change func(*Plugin)) (p *Plugin, log *lines, stop func()) {
	t.Helper()
	p, log = newPlugin(t, change)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Start(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("the plugin ends with %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("the plugin does not end")
			}
		})
	}
	t.Cleanup(stop)
	return p, log, stop
}

func newPlugin(t *testing.T, change func(*Plugin)) (*Plugin, *lines) {
	t.Helper()
	log := &lines{}
	directory := t.TempDir()
	p := &Plugin{
		Socket: filepath.Join(t.TempDir(), "nri.sock"), Index: DefaultIndex,
		Decider:   node.Decider{Setting: func(namespace string, _ *inject.Pod) inject.Setting { return inject.Setting{Namespace: namespace} }},
		Synced:    func() bool { return true },
		Directory: directory, Program: program(t, "v1"), Version: "v1",
		Metrics: NewMetrics(prometheus.NewRegistry()),
		Log:     funcr.New(log.add, funcr.Options{Verbosity: 1}),
	}
	if change != nil {
		change(p)
	}
	return p, log
}

// program writes an init.
func program(t *testing.T, version string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho podinit "+version+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// lines are those of a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(prefix, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, prefix+" "+line)
}

// has says whether a line has all of the words.
func (l *lines) has(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func ready(t *testing.T, p *Plugin) {
	t.Helper()
	await(t, "the plugin is ready", func() bool { return p.Ready(nil) == nil })
}

func unready(t *testing.T, p *Plugin, why string) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if last = p.Ready(nil); last != nil && strings.Contains(last.Error(), why) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("readiness says %v, want %q in it", last, why)
		}
	}
}

func wrapped(c *api.Container) bool {
	return len(c.Args) > 0 && c.Args[0] == inject.InitPath && len(c.Mounts) == 1 && c.Mounts[0].Destination == inject.MountPath
}

func value(c prometheus.Collector) float64 { return testutil.ToFloat64(c) }

func TestWraps(t *testing.T) {
	p, log, _ := run(t, nil)
	unready(t, p, "not registered with the container runtime")
	if value(p.Metrics.registered) != 0 {
		t.Error("registered without a runtime")
	}
	r := listen(t, p.Socket, nil)
	ready(t, p)
	c := r.create("1", "/bin/app", "--serve")
	installed := p.installed.Load().Directory
	want := []string{inject.InitPath, "--grace=30s", "--termination-message=/dev/termination-log", "--", "/bin/app", "--serve"}
	if diff := cmp.Diff(want, c.Args); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if len(c.Mounts) != 1 || c.Mounts[0].Source != installed {
		t.Errorf("mounts %v, want one of %s", c.Mounts, installed)
	}
	if info, err := os.Stat(filepath.Join(c.Mounts[0].Source, "init")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("the init of the mount: %v, %v", info, err)
	}
	if c := r.create("2", "/usr/bin/tini", "--", "app"); wrapped(c) {
		t.Error("tini is wrapped")
	}
	for labels, want := range map[[2]string]float64{{"wrapped", ""}: 1, {"skipped", "already-init"}: 1, {"skipped", "not-opted-in"}: 0} {
		if got := value(p.Metrics.containers.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("containers %v: %v, want %v", labels, got, want)
		}
	}
	if value(p.Metrics.registered) != 1 || value(p.Metrics.registrations) != 1 || value(p.Metrics.missed) != 0 {
		t.Error("the metrics do not say that it has registered once and missed nothing")
	}
	if !log.has("container wrapped", `"namespace"="shop"`, `"pod"="web"`, `"container"="app"`) {
		t.Errorf("no line names the container: %q", log.all)
	}
	if err := p.Alive(nil); err != nil {
		t.Error(err)
	}
}

// What must be known before anything is decided.
func TestNotSynced(t *testing.T) {
	var synced atomic.Bool
	p, _, _ := run(t, func(p *Plugin) { p.Synced = synced.Load })
	r := listen(t, p.Socket, nil)
	unready(t, p, "waiting for the first list")
	if c := r.create("1", "app"); wrapped(c) {
		t.Error("a container is wrapped before the namespaces are known")
	}
	synced.Store(true)
	ready(t, p)
	if got := value(p.Metrics.unwrapped); got != 1 {
		t.Errorf("%v containers are unwrapped, want the one of before", got)
	}
}

// The report names every container of pods that opt in with what became of it, from the start of the plugin and after a
// restart of it, and none of others. It is bounded.
func TestReport(t *testing.T) {
	p, _, stop := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	r.create("1", "/bin/app")
	r.create("2", "/usr/bin/tini", "--", "app")
	stop()
	r.create("3", "app")
	r.createOnly("4", "app") // has not started
	p, _, _ = run(t, func(next *Plugin) {
		next.Socket, next.Directory, next.Suspended = p.Socket, p.Directory, func() bool { return true }
	})
	ready(t, p)
	r.create("5", "app", "--password=secret")
	ask := func(method, path string) (*http.Response, report.Report) {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		var answer report.Report
		if text := w.Body.String(); strings.Contains(text, "secret") {
			t.Errorf("an argv is in %s", text)
		}
		_ = json.Unmarshal(w.Body.Bytes(), &answer)
		return w.Result(), answer
	}
	_, got := ask(http.MethodGet, report.Path)
	container := func(state report.State, reason v1alpha1.Reason, init string) report.Container {
		return report.Container{Namespace: "shop", Pod: "web", Name: "app", State: state, Reason: reason, Init: init}
	}
	name := p.installed.Load().Name()
	slices.SortStableFunc(got.Containers, func(a, b report.Container) int {
		return strings.Compare(string(a.State)+a.Init, string(b.State)+b.Init)
	})
	want := report.Report{
		Version: "v1", Registered: true, Suspended: true, Counts: report.Counts{Wrapped: 2, LeftAlone: 1, Missed: 1},
		Containers: []report.Container{
			container(report.LeftAlone, v1alpha1.ReasonAlreadyInit, ""), container(report.Missed, "", ""),
			container(report.Wrapped, "", name), container(report.Wrapped, "", name),
		},
		Recent: []report.Container{container(report.Wrapped, "", name)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if _, got := ask(http.MethodGet, report.Path+"?namespace=other"); len(got.Containers)+len(got.Recent) > 0 || !got.Registered {
		t.Errorf("of another namespace: %+v", got)
	}
	if answer, _ := ask(http.MethodPost, report.Path); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", answer.Status)
	}
	for i := range report.MaxRecent + 5 {
		r.create(fmt.Sprint("many-", i), "app")
		r.remove(fmt.Sprint("many-", i))
	}
	r.create("last", "/usr/bin/tini", "--", "app")
	if _, got = ask(http.MethodGet, report.Path); len(got.Recent) != report.MaxRecent || got.Recent[0].Reason != v1alpha1.ReasonAlreadyInit || got.Recent[1].State != report.Wrapped {
		t.Errorf("%d recent decisions, the newest %+v", len(got.Recent), got.Recent[:2])
	}
	r.stop()
	unready(t, p, "not registered with the container runtime")
	if _, got = ask(http.MethodGet, report.Path); got.Registered || !strings.Contains(got.Problem, "not registered") {
		t.Errorf("without a runtime: %+v", got)
	}
}

// A runtime that is restarted is found again. What it created alone is counted and named, for as long as it runs.
func TestRuntimeRestarts(t *testing.T) {
	p, log, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	r.create("1", "app")
	for round := 1; round <= 3; round++ {
		r.stop()
		unready(t, p, "not registered with the container runtime")
		if value(p.Metrics.registered) != 0 {
			t.Error("the metric says that it is registered")
		}
		id := fmt.Sprintf("bare-%d", round)
		if c := r.create(id, "app"); wrapped(c) {
			t.Error("a container is wrapped by nobody")
		}
		r = listen(t, p.Socket, r.containers)
		ready(t, p)
		if got := value(p.Metrics.unwrapped); got != float64(round) {
			t.Errorf("round %d: %v unwrapped", round, got)
		}
		if c := r.create(fmt.Sprintf("wrapped-%d", round), "app"); !wrapped(c) {
			t.Errorf("round %d: not wrapped", round)
		}
	}
	if !log.has("runs without the init", `"namespace"="shop"`, `"pod"="web"`, `"container"="app"`) {
		t.Errorf("no line names a container that runs without the init: %q", log.all)
	}
	if got := value(p.Metrics.registrations); got != 4 {
		t.Errorf("%v registrations, want 4", got)
	}
	for round := 1; round <= 3; round++ {
		r.remove(fmt.Sprintf("bare-%d", round))
	}
	await(t, "nothing is unwrapped any more", func() bool { return value(p.Metrics.unwrapped) == 0 })
}

// A container that was created without the plugin counts once it starts; a runtime's crash may leave some that never do.
func TestNeverStarted(t *testing.T) {
	p, log, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	r.stop()
	unready(t, p, "not registered with the container runtime")
	r.createOnly("left", "app")
	later := r.createOnly("later", "app")
	r = listen(t, p.Socket, r.containers)
	ready(t, p)
	if value(p.Metrics.unwrapped) != 0 || value(p.Metrics.missed) != 0 || log.has("runs without the init") {
		t.Error("a container that does not run is counted or named")
	}
	r.start(later)
	await(t, "the container that has started is counted", func() bool { return value(p.Metrics.unwrapped) == 1 && value(p.Metrics.missed) == 1 })
	if !log.has("runs without the init", `"container"="app"`) {
		t.Error("it is not named")
	}
	r.remove("later")
	await(t, "it is gone", func() bool { return value(p.Metrics.unwrapped) == 0 })
}

// A plugin that is too slow is left by the runtime, and the container stays unchanged.
func TestSlow(t *testing.T) {
	var slow atomic.Bool
	free := make(chan struct{})
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			if slow.Load() {
				<-free
			}
			return inject.Setting{Namespace: namespace}
		}
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	slow.Store(true)
	// The plugin answers only after that.
	if c := r.create("1", "app"); wrapped(c) {
		t.Error("the container is wrapped though the plugin never answered")
	}
	await(t, "the health check says that a question is not answered", func() bool { return p.Alive(nil) != nil })
	slow.Store(false)
	close(free)
	ready(t, p)
	await(t, "it is healthy", func() bool { return p.Alive(nil) == nil })
	await(t, "the container is counted", func() bool { return value(p.Metrics.unwrapped) == 1 })
	if value(p.Metrics.late) == 0 || value(p.Metrics.containers.WithLabelValues("wrapped", "")) != 0 {
		t.Error("the answer that nobody heard is counted as one")
	}
	if c := r.create("2", "app"); !wrapped(c) {
		t.Error("not wrapped when it is fast again")
	}
}

// A mistake of podinit's own fails no container.
func TestPanic(t *testing.T) {
	p, log, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(string, *inject.Pod) inject.Setting { panic("a mistake") }
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	if c := r.create("1", "app"); wrapped(c) {
		t.Error("wrapped")
	}
	// Asked about it, then whether the profile demands the init, and told that it has started.
	if value(p.Metrics.panics) != 3 || !log.has("a mistake", "plugin_test.go") {
		t.Error("the panics are not counted and told with their place")
	}
	ready(t, p)
}

// A plugin that changes the argv before is wrapped, not lost.
type sidecarPlugin struct{ argv []string }

func (s sidecarPlugin) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a := &api.ContainerAdjustment{}
	a.SetArgs(s.argv)
	return a, nil, nil
}

func TestOtherPlugin(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	other, err := stub.New(sidecarPlugin{[]string{"/proxy", "app"}}, stub.WithPluginName("proxy"), stub.WithPluginIdx("10"), stub.WithSocketPath(p.Socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	var c *api.Container
	n := 0
	await(t, "the other plugin is called", func() bool {
		n++
		c = r.create(fmt.Sprint(n), "app")
		return slices.Contains(c.Args, "/proxy")
	})
	if !wrapped(c) || !slices.Equal(c.Args[len(c.Args)-3:], []string{"--", "/proxy", "app"}) {
		t.Errorf("argv %q", c.Args)
	}
}

// Two plugins of podinit's at once, as while one takes the place of the other: no container is wrapped twice.
func TestTwo(t *testing.T) {
	p, _, _ := run(t, nil)
	second, _, _ := run(t, func(s *Plugin) {
		s.Socket, s.Directory, s.Program, s.Version = p.Socket, p.Directory, program(t, "v2"), "v2"
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	ready(t, second)
	time.Sleep(20 * time.Millisecond) // the runtime calls both
	c := r.create("1", "app")
	if !wrapped(c) || strings.Count(strings.Join(c.Args, " "), inject.InitPath) != 1 {
		t.Errorf("argv %q, mounts %v", c.Args, c.Mounts)
	}
	p.collect()
	second.collect()
	if inits, _ := filepath.Glob(filepath.Join(p.Directory, "*/init")); len(inits) != 2 {
		t.Errorf("of two versions that are held, there are %v", inits)
	}
}

// The init goes from the disk while the plugin is registered: containers are not given what is not there.
func TestInitLost(t *testing.T) {
	p, log, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	if err := os.RemoveAll(p.installed.Load().Directory); err != nil {
		t.Fatal(err)
	}
	if c := r.create("1", "app"); wrapped(c) {
		t.Error("a container is given an init that is not there")
	}
	if value(p.Metrics.containers.WithLabelValues("skipped", "init-not-installed")) != 1 || value(p.Metrics.unwrapped) != 1 {
		t.Error("it is not counted")
	}
	if !log.has("container left alone", "init-not-installed", `"pod"="web"`) {
		t.Errorf("no line says so: %q", log.all)
	}
	p.install(t.Context())
	if c := r.create("2", "app"); !wrapped(c) {
		t.Error("not wrapped when the init is there again")
	}
}

// Where the profile demands the init and it is not there, the container fails, so that the kubelet tries again. Nothing counts it
// as one that runs.
func TestRequired(t *testing.T) {
	chosen, err := profile.New("strict", v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode, RequireNode: true})
	if err != nil {
		t.Fatal(err)
	}
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			return inject.Setting{Namespace: namespace, Profile: chosen}
		}
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	if c := r.create("1", "app"); !wrapped(c) {
		t.Error("not wrapped")
	}
	if err := os.RemoveAll(p.installed.Load().Directory); err != nil {
		t.Fatal(err)
	}
	block := r.BlockPluginSync()
	request := &api.CreateContainerRequest{Pod: pod, Container: &api.Container{Id: "2", PodSandboxId: pod.Id, Name: "app", Args: []string{"app"}}}
	_, err = r.CreateContainer(t.Context(), request)
	block.Unblock()
	if err == nil || !strings.Contains(err.Error(), "the InitProfile demands the init") {
		t.Errorf("without the init: %v", err)
	}
	if value(p.Metrics.unwrapped) != 0 || len(p.Report("").Containers) != 1 {
		t.Errorf("it counts as one that runs: %+v", p.Report(""))
	}
	p.install(t.Context())
	if c := r.create("3", "app"); !wrapped(c) {
		t.Error("not wrapped when the init is there again")
	}
}

// Nor does a mistake of podinit's own start such a container.
func TestRequiredPanic(t *testing.T) {
	chosen, err := profile.New("strict", v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode, RequireNode: true})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	p, _, _ := run(t, func(p *Plugin) {
		p.Decider.Setting = func(namespace string, _ *inject.Pod) inject.Setting {
			if asked++; asked == 1 {
				panic("a mistake")
			}
			return inject.Setting{Namespace: namespace, Profile: chosen}
		}
	})
	r := listen(t, p.Socket, nil)
	ready(t, p)
	defer r.BlockPluginSync().Unblock()
	request := &api.CreateContainerRequest{Pod: pod, Container: &api.Container{Id: "1", PodSandboxId: pod.Id, Name: "app", Args: []string{"app"}}}
	if _, err := r.CreateContainer(t.Context(), request); err == nil || !strings.Contains(err.Error(), "a bug in podinit") {
		t.Errorf("it is created all the same: %v", err)
	}
}

// Without a place for the init the plugin does not register, and says why.
func TestNoDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "missing")
	p, _, _ := run(t, func(p *Plugin) { p.Directory = directory })
	r := listen(t, p.Socket, nil)
	unready(t, p, directory+": no such file or directory")
	if c := r.create("1", "app"); wrapped(c) {
		t.Error("wrapped")
	}
	if err := p.Alive(nil); err != nil {
		t.Errorf("it would be killed at once: %v", err)
	}
	p.mu.Lock()
	p.lostSince = time.Now().Add(-2 * maxLost)
	p.mu.Unlock()
	if p.Alive(nil) == nil {
		t.Error("a mount that never comes back does not end the container")
	}
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	p.install(t.Context())
	ready(t, p)
	if err := p.Alive(nil); err != nil {
		t.Error(err)
	}
}

// A version stays for as long as a container uses it, also one of an earlier plugin.
func TestVersions(t *testing.T) {
	old, _, stopOld := run(t, nil)
	r := listen(t, old.Socket, nil)
	ready(t, old)
	c := r.create("1", "app")
	stopOld()
	p, log, _ := run(t, func(p *Plugin) {
		p.Socket, p.Directory, p.Program, p.Version = old.Socket, old.Directory, program(t, "v2"), "v2"
	})
	ready(t, p)
	p.collect()
	if _, err := os.Stat(c.Mounts[0].Source); err != nil {
		t.Fatalf("the version of a container that runs: %v", err)
	}
	if value(p.Metrics.unwrapped) != 0 {
		t.Error("a wrapped container is taken for an unwrapped one")
	}
	r.remove("1")
	await(t, "the version is removed", func() bool {
		p.collect()
		_, err := os.Stat(c.Mounts[0].Source)
		return errors.Is(err, os.ErrNotExist)
	})
	if !log.has("removed versions", filepath.Base(c.Mounts[0].Source)) {
		t.Error("no line says so")
	}
	if err := p.installed.Load().Check(); err != nil {
		t.Error(err)
	}
}

// Runtimes that end at any moment of a registration, or are no runtimes at all.
func TestHalfRegistered(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"closes":   func(c net.Conn) {},
		"nonsense": func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 100)) },
		// The stub waits for ever for the call that configures it.
		"registers and ends": func(c net.Conn) {
			mux, registered, err := onlyRegisters(c)
			if err != nil {
				return
			}
			select {
			case <-registered:
				time.Sleep(20 * time.Millisecond) // the answer
			case <-time.After(5 * time.Second):
			}
			_ = mux.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time the plugin waits to try again
			p, _, _ := run(t, nil)
			l, err := net.Listen("unix", p.Socket)
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			serve(c)
			_ = c.Close()
			_ = l.Close()
			unready(t, p, "not registered with the container runtime:")
			r := listen(t, p.Socket, nil)
			ready(t, p)
			if c := r.create("1", "app"); !wrapped(c) {
				t.Error("not wrapped")
			}
		})
	}
}

// registrations is a runtime that only registers.
type registrations chan struct{}

// onlyRegisters serves such a runtime on a connection.
func onlyRegisters(c net.Conn) (multiplex.Mux, registrations, error) {
	mux, registered := multiplex.Multiplex(c), make(registrations, 1)
	l, err := mux.Listen(multiplex.RuntimeServiceConn)
	if err != nil {
		return nil, nil, err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return nil, nil, err
	}
	api.RegisterRuntimeService(server, registered)
	go func() { _ = server.Serve(context.Background(), l) }()
	return mux, registered, nil
}

func (r registrations) RegisterPlugin(context.Context, *api.RegisterPluginRequest) (*api.Empty, error) {
	r <- struct{}{}
	return &api.Empty{}, nil
}

func (r registrations) UpdateContainers(context.Context, *api.UpdateContainersRequest) (*api.UpdateContainersResponse, error) {
	return &api.UpdateContainersResponse{}, nil
}

// aStub is one whose runtime has a version of NRI.
type aStub struct {
	stub.Stub
	version string
}

func (s aStub) RuntimeNRIVersion() string     { return s.version }
func (s aStub) RequestTimeout() time.Duration { return time.Second }

// A runtime that would mount the init and not start it is not registered with.
func TestTooOld(t *testing.T) {
	for version, tooOld := range map[string]bool{
		"v0.8.0": true, "v0.3.1-0.20230504231226-94185418e253": true, "v0.10.0": false, "v0.12.3": false, "v1.0.0": false, "": false, api.UnknownVersion: false,
	} {
		p, _ := newPlugin(t, nil)
		s := &session{plugin: p, stub: aStub{version: version}}
		_, err := s.Configure(t.Context(), "", "containerd", "v2.1.0")
		if errors.Is(err, errTooOld) != tooOld || err != nil && !tooOld {
			t.Errorf("NRI %q: %v", version, err)
		}
		if tooOld && !strings.Contains(err.Error(), "containerd v2.1.0, with NRI "+version) {
			t.Errorf("it does not say what is there: %v", err)
		}
	}
}

// The same, seen from a runtime: it is told why, and so is who asks the plugin.
func TestTooOldRuntime(t *testing.T) {
	p, _, _ := run(t, nil)
	l, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	mux, registered, err := onlyRegisters(c)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	<-registered
	toPlugin, err := mux.Open(multiplex.PluginServiceConn)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(toPlugin)
	defer client.Close()
	_, err = api.NewPluginClient(client).Configure(t.Context(), &api.ConfigureRequest{RuntimeName: "containerd", RuntimeVersion: "v2.1.0", NRIVersion: "v0.8.0", RequestTimeout: 1000})
	if err == nil {
		t.Error("the plugin lets a runtime that is too old configure it")
	}
	unready(t, p, "too old for node mode: it requires containerd 2.2 or CRI-O 1.34; this is containerd v2.1.0")
}

// A runtime that says it reads an argv, and mounts the init without starting it, is found out at the first container.
func TestIgnored(t *testing.T) {
	p, log, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	c := r.createOnly("1", "/bin/app")
	if !wrapped(c) {
		t.Fatalf("the container gets %+v", c)
	}
	c.Args = []string{"/bin/app"}
	r.start(c)
	unready(t, p, "too old for node mode: it requires containerd 2.2 or CRI-O 1.34; this is test 2.4.2, which has started a container without the init")
	if value(p.Metrics.missed) != 1 || value(p.Metrics.unwrapped) != 1 || !log.has("container runs without the init", `"container"="app"`) {
		t.Errorf("the container is not counted as missed, or not named: %q", log.all)
	}
	if got := p.Report("").Containers; len(got) != 1 || got[0].State != report.Missed {
		t.Errorf("the report says %+v", got)
	}
	if c := r.create("2", "/bin/app"); wrapped(c) {
		t.Error("the next container is changed")
	}
}

// Containers that the runtime was creating while the plugin registered are neither listed nor asked about: what opts in among them is found when
// it starts.
func TestNotListed(t *testing.T) {
	p, log, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	c := &api.Container{Id: "1", PodSandboxId: pod.Id, Name: "app", Args: []string{"/bin/app"}}
	r.containers["1"] = c
	r.start(c)
	if value(p.Metrics.missed) != 1 || value(p.Metrics.unwrapped) != 1 || !log.has("container runs without the init", `"container"="app"`) {
		t.Errorf("the container is not counted as missed, or not named: %q", log.all)
	}
	if got := p.Report("").Containers; len(got) != 1 || got[0].State != report.Missed {
		t.Errorf("the report says %+v", got)
	}
	r.start(&api.Container{Id: "2", PodSandboxId: pod.Id, Name: "init-already", Args: []string{inject.InitPath, "--", "app"}})
	if value(p.Metrics.missed) != 1 || p.Ready(nil) != nil {
		t.Error("a container that has an init is counted as missed")
	}
	r.remove("1")
	if value(p.Metrics.unwrapped) != 0 {
		t.Error("it is counted after its end")
	}
}

// A stub that hangs is left behind, but not for ever.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	p, _ := newPlugin(t, nil)
	p.abandoned = maxAbandoned
	l, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mux, registered, err := onlyRegisters(c)
			if err != nil {
				return
			}
			<-registered
			time.Sleep(20 * time.Millisecond)
			_ = mux.Close()
		}
	}()
	if err := p.Start(t.Context()); !errors.Is(err, errAbandoned) {
		t.Errorf("it ends with %v", err)
	}
}

// 250 containers at once, while runtime and plugin come and go: none fails, and each that has no init is counted.
func TestStorm(t *testing.T) {
	p, _, _ := run(t, nil)
	r := listen(t, p.Socket, nil)
	ready(t, p)
	bare := 0
	for i := range 250 {
		switch {
		case i%50 == 25:
			r.stop()
			r = listen(t, p.Socket, r.containers)
		case i%50 == 10:
			ready(t, p)
		}
		if c := r.create(fmt.Sprint(i), "app"); !wrapped(c) {
			bare++
		}
	}
	r.stop()
	listen(t, p.Socket, r.containers)
	await(t, "every container without the init is counted", func() bool { return p.Ready(nil) == nil && value(p.Metrics.unwrapped) == float64(bare) })
	if bare == 250 || bare == 0 {
		t.Errorf("%d of 250 are bare: nothing was tried", bare)
	}
}
