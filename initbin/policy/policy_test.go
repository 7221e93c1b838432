package policy

import (
	"syscall"
	"testing"

	"github.com/podinit/podinit/initbin/proc"
)

func set(signals ...syscall.Signal) (s proc.Set) {
	for _, n := range signals {
		s = s.With(uint8(n))
	}
	return s
}

func TestBefore(t *testing.T) {
	for name, tt := range map[string]struct {
		status proc.Status
		comm   string
		signal syscall.Signal
		want   Answer
	}{
		"a server catches TERM":                       {proc.Status{Caught: set(syscall.SIGTERM)}, "postgres", syscall.SIGTERM, Alone},
		"a server catches HUP":                        {proc.Status{Caught: set(syscall.SIGHUP)}, "nginx", syscall.SIGHUP, Alone},
		"a shell with a trap for TERM":                {proc.Status{Caught: set(syscall.SIGTERM)}, "bash", syscall.SIGTERM, Alone},
		"a shell that catches INT while it waits":     {proc.Status{Caught: set(syscall.SIGINT)}, "bash", syscall.SIGINT, Both},
		"an interactive shell ignores QUIT":           {proc.Status{Ignored: set(syscall.SIGQUIT)}, "bash", syscall.SIGQUIT, Both},
		"an interactive shell ignores TERM":           {proc.Status{Ignored: set(syscall.SIGTERM)}, "bash", syscall.SIGTERM, Both},
		"ignored by anybody":                          {proc.Status{Ignored: set(syscall.SIGUSR1)}, "python3", syscall.SIGUSR1, Both},
		"WINCH is ignored by default":                 {proc.Status{}, "sleep", syscall.SIGWINCH, Both},
		"CONT":                                        {proc.Status{}, "sleep", syscall.SIGCONT, Both},
		"WINCH is caught":                             {proc.Status{Caught: set(syscall.SIGWINCH)}, "vi", syscall.SIGWINCH, Alone},
		"TTIN would stop a shell":                     {proc.Status{}, "sh", syscall.SIGTTIN, Below},
		"gunicorn catches TTIN":                       {proc.Status{Caught: set(syscall.SIGTTIN)}, "gunicorn", syscall.SIGTTIN, Alone},
		"TERM may end a shell":                        {proc.Status{}, "sh", syscall.SIGTERM, Look},
		"QUIT may dump it":                            {proc.Status{}, "sh", syscall.SIGQUIT, Look},
		"a real-time signal":                          {proc.Status{}, "sh", 40, Look},
		"KILL, by a rewrite, is for the main process": {proc.Status{}, "sh", syscall.SIGKILL, Alone},
	} {
		if got := Before(&tt.status, tt.comm, uint8(tt.signal)); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		process proc.Process
		status  proc.Status
		signal  syscall.Signal
		want    Answer
	}{
		"the kernel has queued SIGKILL":        {proc.Process{State: 'S'}, proc.Status{State: 'S', Pending: set(syscall.SIGTERM, syscall.SIGKILL)}, syscall.SIGTERM, Both},
		"a zombie":                             {proc.Process{State: 'Z'}, proc.Status{State: 'Z'}, syscall.SIGTERM, Both},
		"on its way out":                       {proc.Process{State: 'R', Flags: 0x400444}, proc.Status{State: 'R'}, syscall.SIGTERM, Both},
		"tini takes it by sigwait":             {proc.Process{State: 'S'}, proc.Status{State: 'S'}, syscall.SIGTERM, Alone},
		"catatonit has it blocked, for a fd":   {proc.Process{State: 'S'}, proc.Status{State: 'S', Blocked: set(syscall.SIGTERM), Pending: set(syscall.SIGTERM)}, syscall.SIGTERM, Alone},
		"a core dump has not begun":            {proc.Process{State: 'S'}, proc.Status{State: 'S', Pending: set(syscall.SIGQUIT)}, syscall.SIGQUIT, Later},
		"a core dump is being written":         {proc.Process{State: 'D', Flags: 0x400600}, proc.Status{State: 'D'}, syscall.SIGQUIT, Both},
		"it has dumped core and is a zombie":   {proc.Process{State: 'Z', Flags: 0x40060c}, proc.Status{State: 'Z'}, syscall.SIGQUIT, Both},
		"a real-time signal ends it like TERM": {proc.Process{State: 'S'}, proc.Status{Pending: set(40, syscall.SIGKILL)}, 40, Both},
	} {
		if got := After(&tt.process, &tt.status, uint8(tt.signal)); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestIsShell(t *testing.T) {
	for name, want := range map[string]bool{"sh": true, "bash": true, "busybox": true, "zsh": true, "bashful": false, "": false, "python3": false} {
		if got := IsShell(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
