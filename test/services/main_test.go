package main

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestJudge(t *testing.T) {
	ends := outcome{code: 143}
	for name, c := range map[string]struct {
		tini, podinit outcome
		want          string
	}{
		"as tini":                   {ends, ends, ""},
		"better than tini":          {outcome{code: 143, killed: 2}, ends, ""},
		"not notified under either": {outcome{code: 137, late: true}, outcome{code: 137, late: true}, ""},
		"not notified":              {ends, outcome{code: 137, late: true}, "killed after 15 s, with tini exit code 143"},
		"processes killed":          {ends, outcome{code: 143, killed: 1}, "exit code 143, killed 1"},
		"another exit code":         {outcome{}, ends, "exit code 143, with tini exit code 0"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judge(map[string]outcome{tini: c.tini, podinit: c.podinit})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Of processes, those count that SIGKILL has ended, below the container's PID 1; threads do not.
func TestKilled(t *testing.T) {
	e := &events{parents: map[uint32]uint32{}, statuses: map[uint32]unix.WaitStatus{}}
	fork := func(parent, pid, process uint32) {
		e.add(netlink.ProcEvent{Msg: &netlink.ForkProcEvent{ParentPid: parent, ParentTgid: parent, ChildPid: pid, ChildTgid: process}})
	}
	exit := func(pid, process, status uint32) {
		e.add(netlink.ProcEvent{Msg: &netlink.ExitProcEvent{ProcessPid: pid, ProcessTgid: process, ExitCode: status}})
	}
	fork(1, 10, 10) // PID 1 of the container
	fork(10, 11, 11)
	fork(11, 12, 12)
	fork(12, 13, 12) // a thread
	fork(11, 14, 14)
	fork(1, 20, 20) // of another container
	exit(11, 11, 15)
	exit(13, 12, 9)
	exit(12, 12, 9)
	exit(14, 14, 9)
	exit(20, 20, 9)
	exit(10, 10, 9)
	if got := e.killed(10); got != 2 {
		t.Errorf("%d processes were killed, want 2", got)
	}
	if status, err := e.ended(t.Context(), 11, 0); err != nil || status.Signal() != unix.SIGTERM {
		t.Errorf("%v, %v", status, err)
	}
}

// A row is known by its service's name.
func TestServices(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range services {
		if seen[s.Name] || s.Packages == "" || unix.SignalName(s.Signal) == "" {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
	}
}
