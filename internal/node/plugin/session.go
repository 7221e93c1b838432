package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/containerd/ttrpc"
	"github.com/go-logr/logr"
	"golang.org/x/mod/semver"
)

const (
	// registrationTimeout is how long the runtime may take to know the plugin, from the connection to the list of its
	// containers. It begins only when the registrations of other plugins are done, 5 s for each that is stuck.
	registrationTimeout = 30 * time.Second
	// stopTimeout is how long the stub has to end once its connection is closed.
	stopTimeout = 2 * time.Second
	// closeTimeout is how long the stub has to say why it has closed the connection.
	closeTimeout = 100 * time.Millisecond
	// maxAbandoned is how many registrations may hang for ever. The stub's does if the runtime ends between the
	// registration and the configuration (github.com/containerd/nri, pkg/stub, Start waits for Configure).
	maxAbandoned = 10
)

// minNRI is the first version of NRI in whose answers a runtime reads an argv (github.com/containerd/nri, README): that of
// containerd 2.2 and CRI-O 1.34. An older one would mount the init and not start it.
const minNRI = "v0.10.0"

// errTooOld is why the plugin does not register with such a runtime.
var errTooOld = errors.New("the container runtime is too old for node mode: it requires containerd 2.2 or CRI-O 1.34")

// errAbandoned is why a new process is needed.
var errAbandoned = errors.New("too many registrations with the container runtime have never ended")

// session is one connection to the runtime. Its methods are what the runtime asks; they return no error, since the
// runtime would fail the container, unless the InitProfile demands just that.
type session struct {
	plugin *Plugin
	stub   stub.Stub
	conn   *connection
	// listed is closed when the runtime has listed its containers: from then on it asks about new ones.
	listed chan struct{}
	once   sync.Once
	// over is set once the connection has ended. plugin.mu guards it.
	over bool
}

// start is the stub's registration, which may never end.
type start struct {
	done chan struct{}
	err  error
}

// connect registers with the runtime and returns why the connection has ended, and whether it was registered.
func (p *Plugin) connect(ctx context.Context) (registered bool, err error) {
	s := &session{plugin: p, listed: make(chan struct{})}
	dialed, err := (&net.Dialer{Timeout: stopTimeout}).DialContext(ctx, "unix", p.Socket)
	if err != nil {
		return false, err
	}
	conn := &connection{Conn: dialed, closed: make(chan struct{})}
	s.conn = conn
	defer conn.Close()
	s.stub, err = stub.New(s, stub.WithPluginName(Name), stub.WithPluginIdx(p.Index), stub.WithConnection(conn), stub.WithLogger(logger{p.Log.WithName("nri")}),
		stub.WithTTRPCOptions(nil, []ttrpc.ServerOpt{ttrpc.WithUnaryServerInterceptor(lean)}))
	if err != nil {
		return false, fmt.Errorf("setting up the plugin: %w", err)
	}
	started := &start{done: make(chan struct{})}
	go func() {
		defer close(started.done)
		started.err = s.stub.Start(ctx)
	}()
	registered, err = s.wait(ctx, conn, started)
	p.ended(s)
	_ = conn.Close()
	if !s.stop(started) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.abandoned++; p.abandoned > maxAbandoned {
			return registered, errAbandoned
		}
	}
	return registered, err
}

// lean drops what no decision needs of the runtime's list. It comes in messages of a few MB, of which the stub keeps all until the last,
// and environments are most of it.
func lean(ctx context.Context, unmarshal ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	return method(ctx, func(request any) error {
		err := unmarshal(request)
		if list, ok := request.(*api.SynchronizeRequest); ok {
			for _, c := range list.GetContainers() {
				c.Env = nil
			}
		}
		return err
	})
}

// wait returns when the connection is over, or the runtime takes too long to register the plugin.
func (s *session) wait(ctx context.Context, conn *connection, started *start) (registered bool, err error) {
	start, listed, timeout := started.done, s.listed, time.After(registrationTimeout)
	for {
		select {
		case <-ctx.Done():
			return registered, ctx.Err()
		case <-timeout:
			return false, fmt.Errorf("the runtime has not registered the plugin within %s", registrationTimeout)
		case <-conn.closed:
			select { // the stub closes it, too, before it says why
			case <-started.done:
				if started.err != nil {
					return registered, started.err
				}
			case <-time.After(closeTimeout):
			}
			return registered, errors.New("the connection was closed")
		case <-start:
			if started.err != nil {
				return registered, started.err
			}
			start = nil
		case <-listed:
			registered, listed, timeout = true, nil, nil
		}
	}
}

// stop ends the stub of a closed connection, and says whether it has ended.
func (s *session) stop(started *start) bool {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-started.done
		s.stub.Stop()
	}()
	select {
	case <-stopped:
		return true
	case <-time.After(stopTimeout):
		return false
	}
}

// Configure is called once the runtime knows the plugin.
func (s *session) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	p := s.plugin
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requestTimeout = s.stub.RequestTimeout()
	nri := s.stub.RuntimeNRIVersion()
	if semver.IsValid(nri) && semver.Compare(nri, minNRI) < 0 { // else it is not known
		return 0, fmt.Errorf("%w; this is %s %s, with NRI %s", errTooOld, runtime, version, nri)
	}
	if p.runtime = runtime + " " + version; p.runtime == p.ignores {
		return 0, fmt.Errorf("%w; this is %s, which has started a container without the init that it was given", errTooOld, p.runtime)
	}
	p.Log.Info("the container runtime knows this plugin", "runtime", runtime, "version", version, "nri", nri, "requestTimeout", p.requestTimeout.String())
	return 0, nil // all that there is a method for
}

// end closes the connection once the request under way is answered.
func (s *session) end() { time.AfterFunc(closeTimeout, func() { _ = s.conn.Close() }) }

// Synchronize is called once, with all that there is; what the runtime creates after that, it asks about.
func (s *session) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	known := false
	defer func() {
		if !known {
			s.end()
		}
	}()
	defer func() { s.plugin.mistake(recover()) }()
	if known = s.plugin.synchronize(s, pods, containers); known {
		s.once.Do(func() { close(s.listed) })
	}
	return nil, nil
}

// CreateContainer is called before a container is created, and the runtime waits.
func (s *session) CreateContainer(ctx context.Context, pod *api.PodSandbox, container *api.Container) (adjustment *api.ContainerAdjustment, _ []*api.ContainerUpdate, err error) {
	p := s.plugin
	p.mu.Lock()
	if p.requests == nil {
		p.requests = map[*api.Container]time.Time{}
	}
	p.requests[container] = time.Now()
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.requests, container)
	}()
	defer func() {
		if p.mistake(recover()) && p.required(pod, container) {
			err = errors.New("podinit: the InitProfile demands the init, and a bug in podinit keeps it out: see the log of podinit-node")
		}
	}()
	adjustment, err = p.create(ctx, s, pod, container)
	return adjustment, nil, err
}

// PostStartContainer is called when a container has started.
func (s *session) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	defer func() { s.plugin.mistake(recover()) }()
	s.plugin.startedOne(pod, container)
	return nil
}

// StopContainer is called when a container has ended.
func (s *session) StopContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	s.plugin.forget(container.GetId())
	return nil, nil
}

// RemoveContainer is called when a container is removed, one too that has never started.
func (s *session) RemoveContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	s.plugin.forget(container.GetId())
	return nil
}

// connection says when it is over, whichever side ends it.
type connection struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.over()
	}
	return n, err
}

func (c *connection) Close() error {
	c.over()
	return c.Conn.Close()
}

func (c *connection) over() { c.once.Do(func() { close(c.closed) }) }

// logger is for what the stub says: only what goes wrong is worth a line at the default verbosity.
type logger struct{ logr.Logger }

func (l logger) Debugf(_ context.Context, format string, args ...any) {
	l.V(2).Info(fmt.Sprintf(format, args...))
}

func (l logger) Infof(_ context.Context, format string, args ...any) {
	l.V(1).Info(fmt.Sprintf(format, args...))
}

func (l logger) Warnf(_ context.Context, format string, args ...any) {
	l.Logger.Info(fmt.Sprintf(format, args...))
}

func (l logger) Errorf(_ context.Context, format string, args ...any) {
	l.Logger.Info(fmt.Sprintf(format, args...))
}
