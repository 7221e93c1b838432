// Package plugin is the edge of node mode: it keeps the init installed on the node, and is registered with the container
// runtime as a plugin of the Node Resource Interface (NRI) for as long as that can be.
//
// The runtime waits for the plugin with every container that it creates, and closes the connection to a plugin that takes
// longer than its request timeout (2 s by default). So questions are answered from memory and one stat. The runtime fails
// a container for which a plugin returns an error: none is returned unless the InitProfile demands the init, and no panic leaves a handler. While the
// plugin is away, containers are created unchanged; the runtime lists them when the plugin registers again.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/go-logr/logr"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/node/versions"
	"github.com/podinit/podinit/internal/reason"
)

const (
	// Name under which the plugin registers.
	Name = "podinit"
	// DefaultIndex is late: plugins are called in the order of their index, and the last sees what the others made of a
	// container's argv.
	DefaultIndex = "95"

	// pollInterval is how often it is looked whether all is known that decisions need.
	pollInterval = 50 * time.Millisecond
	// firstRetry and lastRetry are how long the plugin waits before it connects again.
	firstRetry, lastRetry = 50 * time.Millisecond, time.Second
	// upgradeInterval is how often it is tried with a runtime that is too old: each time, it logs a failure.
	upgradeInterval = time.Minute
	// installInterval is how often it is looked whether the init is still there, and whether versions may go.
	installInterval = 10 * time.Second
	// unusedLooks is how often in a row a version must be found unused before it goes: on CRI-O, a container that is being created while the
	// plugin registers is on no list yet.
	unusedLooks = 3
	// maxLost is how long the directory for the init may be lost. A mount whose directory was removed on the
	// node never comes back; only a new container gets a new one.
	maxLost = time.Minute
)

// Plugin answers the container runtime.
type Plugin struct {
	// Socket of the runtime's NRI.
	Socket string
	// Index decides when the plugin is called among others: two digits.
	Index string
	// Decider decides about containers, from memory.
	Decider node.Decider
	// Suspended says whether every container is created unchanged; nil if it never is. The Decider decides by itself.
	Suspended func() bool
	// Synced says whether the Decider knows all that it goes by. Until then the plugin does not register.
	Synced func() bool

	// Directory for the init's versions, by the same path on the node and here.
	Directory string
	// Program is the init to install, Version its version.
	Program, Version string

	Metrics *Metrics
	Log     logr.Logger

	// installed is the version that containers are given; nil while there is none.
	installed atomic.Pointer[versions.Version]

	mu sync.Mutex
	// installError is why there is no version, since when that is so.
	installError error
	lostSince    time.Time
	// session is the one that the runtime knows; nil while the plugin is not registered.
	session *session
	// connectError is why.
	connectError error
	// runtime is the name and version of the one that has configured the plugin, ignores one that has not done as it was asked.
	runtime, ignores string
	// abandoned counts registrations that have never ended.
	abandoned int
	// containers are those of the node that have not ended, by ID. gone are the latest that have, a ring of which nextGone is the oldest.
	containers map[string]state
	gone       [64]string
	nextGone   int
	// unused counts how often in a row a version was found unused, by its name.
	unused map[string]int
	// recent are the latest decisions, a ring of which next is the oldest.
	recent []report.Container
	next   int
	// requests under way, and since when; requestTimeout is how long the runtime waits for one.
	requests       map[*api.Container]time.Time
	requestTimeout time.Duration
}

// state is what is remembered of a container.
type state struct {
	// of is the container's Pod and its name there: the runtime creates one at a time of each.
	of string
	// version that it has the init from; "" if it has none of ours.
	version string
	// unwrapped is set where it should be wrapped and is not, adjusted where the runtime was asked to wrap it, whose argv was asked.
	unwrapped, adjusted bool
	asked               uint64
	// started is set where it has started. A runtime that crashes may leave containers that never do.
	started bool
	// seen is what is reported of it; the zero Container if its Pod has not opted in.
	seen report.Container
}

// NeedLeaderElection is false: every node has its own plugin.
func (p *Plugin) NeedLeaderElection() bool { return false }

// Start keeps the plugin registered until ctx is done. It returns an error only if a new process is needed.
func (p *Plugin) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var installer sync.WaitGroup
	installer.Go(func() { p.keepInstalled(ctx) })
	defer func() {
		cancel()
		installer.Wait()
	}()
	wait := firstRetry
	for {
		for p.notReady() != nil {
			if !sleep(ctx, pollInterval) {
				return nil
			}
		}
		registered, err := p.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errAbandoned) {
			return err
		}
		if registered {
			wait = firstRetry
			p.Log.Info("the connection to the container runtime was lost; containers are created unchanged until it is back", "why", fmt.Sprint(err))
		} else if p.failed(err) {
			p.Log.Info("not registered with the container runtime; trying again", "socket", p.Socket, "why", fmt.Sprint(err))
		}
		if errors.Is(err, errTooOld) {
			wait = upgradeInterval
		}
		if !sleep(ctx, wait) {
			return nil
		}
		wait = min(2*wait, lastRetry)
	}
}

// sleep waits, and says whether ctx is not done.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// failed notes why the plugin is not registered, and says whether that is new.
func (p *Plugin) failed(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.connectError
	p.connectError = err
	return before == nil || before.Error() != err.Error()
}

// notReady says what is still missing before the plugin may register.
func (p *Plugin) notReady() error {
	if p.installed.Load() == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.installError != nil {
			return fmt.Errorf("the init is not installed: %w", p.installError)
		}
		return errors.New("the init is not installed yet")
	}
	if !p.Synced() {
		return errors.New("waiting for the first list of Namespaces, of InitProfiles, and of ConfigMap " + v1alpha1.SuspendConfigMap)
	}
	return nil
}

// Ready is a health check: it fails unless new containers of this node are wrapped.
func (p *Plugin) Ready(*http.Request) error {
	if err := p.notReady(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.session != nil:
		return nil
	case p.connectError != nil:
		return fmt.Errorf("not registered with the container runtime: %w", p.connectError)
	}
	return errors.New("not registered with the container runtime yet")
}

// Alive is a health check: it fails where only a new container helps.
func (p *Plugin) Alive(*http.Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, since := range p.requests {
		if d := time.Since(since); p.requestTimeout > 0 && d > 2*p.requestTimeout {
			return fmt.Errorf("a request of the container runtime is not answered after %s", d.Round(time.Second))
		}
	}
	if errors.Is(p.installError, fs.ErrNotExist) && time.Since(p.lostSince) > maxLost {
		return fmt.Errorf("the directory for the init is gone: %w", p.installError)
	}
	return nil
}

// keepInstalled keeps the init where containers find it, and removes versions that are no longer used.
func (p *Plugin) keepInstalled(ctx context.Context) {
	defer func() {
		if v := p.installed.Swap(nil); v != nil {
			_ = v.Release()
		}
	}()
	for {
		p.install(ctx)
		p.collect()
		if !sleep(ctx, installInterval) {
			return
		}
	}
}

func (p *Plugin) install(ctx context.Context) {
	v := p.installed.Load()
	if v != nil {
		err := v.Check()
		if err == nil {
			return
		}
		p.Log.Error(err, "the init has to be installed again", "directory", v.Directory)
		p.installed.Store(nil)
		_ = v.Release()
	}
	v, err := versions.Install(ctx, p.Directory, p.Program, p.Version)
	if err == nil {
		p.Log.Info("the init is installed", "directory", v.Directory)
		p.installed.Store(v)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && (p.installError == nil || p.installError.Error() != err.Error()) {
		p.Log.Error(err, "the init cannot be installed; trying again")
	}
	if err == nil || p.installError == nil {
		p.lostSince = time.Now()
	}
	p.installError = err
}

// collect removes versions that nothing uses.
func (p *Plugin) collect() {
	removed, err := versions.Collect(p.Directory, p.uses)
	p.mu.Lock()
	maps.DeleteFunc(p.unused, func(name string, _ int) bool { return slices.Contains(removed, name) })
	p.mu.Unlock()
	if len(removed) > 0 {
		p.Log.Info("removed versions of the init that no container uses", "versions", removed)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.Log.Error(err, "removing versions of the init that no container uses")
	}
}

// uses says whether a container may use a version. Only while the plugin is registered does it know all containers.
func (p *Plugin) uses(version string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	used := p.session == nil
	for _, c := range p.containers {
		used = used || c.version == version
	}
	if used {
		delete(p.unused, version)
		return true
	}
	if p.unused == nil {
		p.unused = map[string]int{}
	}
	p.unused[version]++
	return p.unused[version] < unusedLooks
}

// create decides about a container that the runtime is about to create. An answer after ctx is done is not heard. An error
// has the runtime fail the container, and the kubelet try again: only where the InitProfile demands the init, and it is not there.
func (p *Plugin) create(ctx context.Context, s *session, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, error) {
	began := time.Now()
	verdict := p.Decider.Decide(pod, container)
	found := state{of: key(pod, container), version: node.Uses(container, p.Directory)}
	installed := p.installed.Load()
	if verdict.Reason == "" {
		if err := checkInstalled(installed); err != nil {
			verdict.Skip, verdict.Args = reason.NewSkip(v1alpha1.ReasonInitNotInstalled, err.Error()), nil
			found.unwrapped = true
		} else {
			found.version, found.adjusted, found.asked = installed.Name(), true, hash(container.GetArgs())
		}
	}
	found.seen = see(pod, container, verdict.Reason, found.version, found.unwrapped)
	if !p.remember(ctx, s, container.GetId(), found) {
		p.Metrics.late.Inc()
		return nil, nil
	}
	p.Metrics.observe(verdict, time.Since(began))
	p.report(pod, container, verdict)
	switch {
	case verdict.Reason == v1alpha1.ReasonInitNotInstalled && verdict.Required:
		p.forget(container.GetId()) // it is never created
		return nil, fmt.Errorf("podinit: the InitProfile demands the init, which is not installed on this node: %s", verdict.Detail)
	case verdict.Reason != "":
		return nil, nil
	}
	return verdict.Adjustment(installed.Directory), nil
}

// key is a container's Pod and its name there.
func key(pod *api.PodSandbox, container *api.Container) string {
	return pod.GetUid() + "/" + container.GetName()
}

var seed = maphash.MakeSeed()

// hash of an argv.
func hash(args []string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, arg := range args {
		_, _ = h.WriteString(arg)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// required says whether the InitProfile demands the init for a container. No mistake that has kept it from being decided about leaves this.
func (p *Plugin) required(pod *api.PodSandbox, container *api.Container) (required bool) {
	defer func() { p.mistake(recover()) }()
	return p.Decider.Required(pod, container)
}

func checkInstalled(v *versions.Version) error {
	if v == nil {
		return errors.New("it is not installed")
	}
	return v.Check()
}

// report logs a decision: what the Pod's author may want to change, and with -v=1 everything.
func (p *Plugin) report(pod *api.PodSandbox, container *api.Container, v node.Verdict) {
	log := p.Log.WithValues("namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", container.GetName())
	switch {
	case v.Reason == "":
		log.V(1).Info("container wrapped")
	case reason.Of(v.Reason).Routine:
		log.V(1).Info("container left alone", "reason", v.Reason)
	default:
		e := reason.Of(v.Reason)
		log.Info("container left alone", "reason", v.Reason, "because", e.Because, "detail", v.Detail, "remedy", e.Remedy)
	}
	for _, i := range v.Ignored {
		log.V(1).Info("request ignored", "warning", i.Warning())
	}
}

// remember notes what becomes of a container, unless the runtime has gone on without the answer. It then closes the
// connection, and its next list has the container.
func (p *Plugin) remember(ctx context.Context, asked *session, id string, s state) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || p.session != asked {
		return false
	}
	// One that the runtime has failed after it had asked never starts, and CRI-O does not say so: another has taken its place.
	maps.DeleteFunc(p.containers, func(_ string, other state) bool { return other.of == s.of && !other.started })
	p.containers[id] = s
	p.decided(s.seen)
	p.countUnwrapped()
	return true
}

// startedOne is for a container that has started. One that the runtime was creating while the plugin registered may be neither on its list
// nor asked about: CRI-O has nothing like containerd's BlockPluginSync (server/nri-api.go).
func (p *Plugin) startedOne(pod *api.PodSandbox, container *api.Container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := container.GetId()
	if slices.Contains(p.gone[:], id) {
		return // containerd tells of an end and of a start in any order
	}
	s, known := p.containers[id]
	if !known {
		s = p.find(pod, container)
	}
	if s.started {
		return
	}
	s.started = true
	if args := container.GetArgs(); s.adjusted && len(args) > 0 && !slices.Contains(args, inject.InitPath) {
		s.unwrapped, s.seen.State = true, report.Missed
		// With another argv, a plugin that was asked later has taken it over.
		if hash(args) == s.asked {
			// The version that the runtime says it has reads an argv, and the runtime has not.
			p.ignores = p.runtime
			if p.session != nil {
				p.session.end()
			}
		}
	}
	p.containers[id] = s
	if s.unwrapped {
		p.miss(pod, container)
		p.countUnwrapped()
	}
}

// miss counts and names a container that runs without the init.
func (p *Plugin) miss(pod *api.PodSandbox, container *api.Container) {
	p.Metrics.missed.Inc()
	p.Log.Info("container runs without the init though it opts in: it was created while podinit-node could not wrap it, or before it opted in",
		"namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", container.GetName())
}

// forget is for a container that has ended: one that has ended never starts again.
func (p *Plugin) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.containers, id)
	p.gone[p.nextGone] = id
	p.nextGone = (p.nextGone + 1) % len(p.gone)
	p.countUnwrapped()
}

func (p *Plugin) countUnwrapped() {
	unwrapped := 0
	for _, c := range p.containers {
		if c.unwrapped && c.started {
			unwrapped++
		}
	}
	p.Metrics.unwrapped.Set(float64(unwrapped))
}

// synchronize takes note of the containers that the runtime has when the plugin registers. Those that should be wrapped
// and are not were created while the plugin was away, or before they opted in. It says whether the session is not over.
func (p *Plugin) synchronize(s *session, pods []*api.PodSandbox, containers []*api.Container) bool {
	podOf := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		podOf[pod.GetId()] = pod
	}
	all := make(map[string]state, len(containers))
	for _, c := range containers {
		found := p.find(podOf[c.GetPodSandboxId()], c)
		found.started = c.GetState() != api.ContainerState_CONTAINER_CREATED
		all[c.GetId()] = found
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.over {
		return false // the runtime has not waited for this, and may be connected again
	}
	missed := 0
	for _, c := range containers {
		found, before := all[c.GetId()], p.containers[c.GetId()]
		if before.seen.Reason == v1alpha1.ReasonSuspended {
			before.started = found.started
			found = before // what holds is when it was created
			all[c.GetId()] = found
		}
		if found.unwrapped && found.started {
			missed++
			if !before.unwrapped || !before.started {
				p.miss(podOf[c.GetPodSandboxId()], c)
			}
		}
	}
	p.containers, p.session, p.connectError = all, s, nil
	p.countUnwrapped()
	p.Metrics.registrations.Inc()
	p.Metrics.registered.Set(1)
	p.Log.Info("registered with the container runtime", "containers", len(containers), "without the init", missed)
	return true
}

// find is the state of a container that was created without an answer from this session. pod is nil where it is not known.
func (p *Plugin) find(pod *api.PodSandbox, c *api.Container) (found state) {
	defer func() { p.mistake(recover()) }()
	found = state{of: key(pod, c), version: node.Uses(c, p.Directory)}
	if pod != nil {
		verdict := p.Decider.Decide(pod, c)
		found.unwrapped = verdict.Reason == ""
		found.seen = see(pod, c, verdict.Reason, found.version, found.unwrapped)
	}
	return found
}

// mistake is given what recover returns wherever something is computed about a container, and says whether that is a panic: it
// concerns this container alone, and leaves it unchanged.
func (p *Plugin) mistake(problem any) bool {
	if problem != nil {
		p.Metrics.panics.Inc()
		p.Log.Error(fmt.Errorf("%v", problem), "a bug in podinit, please report it: the container is created unchanged", "stack", string(debug.Stack()))
	}
	return problem != nil
}

// ended is for a session that is over.
func (p *Plugin) ended(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.over = true
	if p.session == s {
		p.session = nil
		p.Metrics.registered.Set(0)
	}
}
