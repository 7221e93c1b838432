package policy

import (
	"syscall"
	"testing"

	"github.com/podinit/podinit/initbin/proc"
)

var (
	catches  = proc.Disposition{Known: true, Caught: true}
	ignores  = proc.Disposition{Known: true, Ignored: true}
	blocks   = proc.Disposition{Known: true, Blocked: true}
	nothing  = proc.Disposition{Known: true}
	unsaid   = proc.Disposition{}
	noShell  = Shell{Asked: true}
	shell    = Shell{Asked: true, Is: true}
	trapping = Shell{Asked: true, Is: true, Script: Script{Traps: true}}
)

func TestBefore(t *testing.T) {
	for name, tt := range map[string]struct {
		facts  Facts
		signal syscall.Signal
		ends   bool
		want   Answer
	}{
		"a server catches TERM":                             {Facts{Disposition: catches}, syscall.SIGTERM, true, Alone},
		"a server catches HUP":                              {Facts{Disposition: catches}, syscall.SIGHUP, false, Alone},
		"a shell with a trap for HUP":                       {Facts{Disposition: catches, Shell: trapping}, syscall.SIGHUP, false, Alone},
		"INT is caught: is it a shell?":                     {Facts{Disposition: catches}, syscall.SIGINT, true, Ask},
		"INT is caught by a server":                         {Facts{Disposition: catches, Shell: noShell}, syscall.SIGINT, true, Alone},
		"a shell that catches INT while it waits":           {Facts{Disposition: catches, Shell: shell}, syscall.SIGINT, true, Both},
		"a shell with a trap catches INT":                   {Facts{Disposition: catches, Shell: trapping}, syscall.SIGINT, true, Alone},
		"HUP would end a program":                           {Facts{Disposition: nothing}, syscall.SIGHUP, false, Below},
		"a real-time signal would end a program":            {Facts{Disposition: nothing}, 40, false, Below},
		"a real-time signal is the stop signal":             {Facts{Disposition: nothing}, 40, true, Look},
		"TERM may end a shell":                              {Facts{Disposition: nothing}, syscall.SIGTERM, true, Look},
		"WINCH is ignored by default":                       {Facts{Disposition: nothing}, syscall.SIGWINCH, false, Below},
		"WINCH is the stop signal, and a shell has no trap": {Facts{Disposition: nothing}, syscall.SIGWINCH, true, Both},
		"TTIN would stop a shell":                           {Facts{Disposition: nothing}, syscall.SIGTTIN, false, Below},
		"CONT":                                              {Facts{Disposition: nothing}, syscall.SIGCONT, false, Both},
		"USR1 is ignored":                                   {Facts{Disposition: ignores}, syscall.SIGUSR1, false, Below},
		"tini waits for USR1":                               {Facts{Disposition: nothing, Waits: true}, syscall.SIGUSR1, false, Alone},
		"catatonit blocks it, for a descriptor":             {Facts{Disposition: blocks}, syscall.SIGTERM, true, Alone},
		"unshare blocks it while it waits":                  {Facts{Disposition: blocks, Reaps: true}, syscall.SIGTERM, true, Below},
		"bwrap has a sandbox below":                         {Facts{Disposition: nothing, Sandbox: true}, syscall.SIGTERM, true, Below},
		"TERM is ignored: is it a shell?":                   {Facts{Disposition: ignores}, syscall.SIGTERM, true, Ask},
		"a program ignores TERM":                            {Facts{Disposition: ignores, Shell: noShell}, syscall.SIGTERM, true, Hold},
		"trap '' TERM":                                      {Facts{Disposition: ignores, Shell: trapping}, syscall.SIGTERM, true, Hold},
		"a shell inherited that TERM is ignored":            {Facts{Disposition: ignores, Shell: shell}, syscall.SIGTERM, true, Hold},
		"an interactive shell ignores TERM":                 {Facts{Disposition: ignores, Shell: Shell{Asked: true, Is: true, Interactive: true}}, syscall.SIGTERM, true, Both},
		"mariadbd-safe ignores TERM":                        {Facts{Disposition: ignores, Shell: Shell{Asked: true, Is: true, Script: Script{Traps: true, Watchdog: true}}}, syscall.SIGTERM, true, Both},
		"bash ignores QUIT":                                 {Facts{Disposition: ignores, Shell: shell}, syscall.SIGQUIT, true, Both},
		"bash has traps and ignores QUIT":                   {Facts{Disposition: ignores, Shell: trapping}, syscall.SIGQUIT, true, Hold},
		"a subshell in the background ignores INT":          {Facts{Disposition: ignores, Shell: shell}, syscall.SIGINT, true, Both},
		"gVisor: is it a shell?":                            {Facts{Disposition: unsaid}, syscall.SIGTERM, true, Ask},
		"gVisor: TERM to a program":                         {Facts{Disposition: unsaid, Shell: noShell}, syscall.SIGTERM, true, Look},
		"gVisor: TERM to a shell":                           {Facts{Disposition: unsaid, Shell: shell}, syscall.SIGTERM, true, Look},
		"gVisor: INT to a shell":                            {Facts{Disposition: unsaid, Shell: shell}, syscall.SIGINT, true, Both},
		"gVisor: INT to a shell with a trap":                {Facts{Disposition: unsaid, Shell: trapping}, syscall.SIGINT, true, Alone},
		"gVisor: TERM to a shell with a trap":               {Facts{Disposition: unsaid, Shell: trapping}, syscall.SIGTERM, true, Alone},
		"gVisor: TERM to unshare":                           {Facts{Disposition: unsaid, Sandbox: true, Shell: noShell}, syscall.SIGTERM, true, Below},
		"gVisor: QUIT to a shell":                           {Facts{Disposition: unsaid, Shell: shell}, syscall.SIGQUIT, false, Below},
		"gVisor: QUIT to bash, which ignores it":            {Facts{Disposition: unsaid, Shell: Shell{Asked: true, Is: true, Bash: true}}, syscall.SIGQUIT, false, Alone},
		"gVisor: HUP to a program":                          {Facts{Disposition: unsaid, Shell: noShell}, syscall.SIGHUP, false, Alone},
		"gVisor: HUP to a shell":                            {Facts{Disposition: unsaid, Shell: shell}, syscall.SIGHUP, false, Below},
		"gVisor: HUP to a shell with another trap":          {Facts{Disposition: unsaid, Shell: trapping}, syscall.SIGHUP, false, Below},
		"gVisor: HUP to a shell with a trap for it":         {Facts{Disposition: unsaid, Shell: Shell{Asked: true, Is: true, Script: Script{Traps: true, Names: true}}}, syscall.SIGHUP, false, Alone},
		"KILL, by a rewrite, is for the main process":       {Facts{Disposition: nothing}, syscall.SIGKILL, true, Alone},
		"a handler counts more than that it is blocked":     {Facts{Disposition: proc.Disposition{Known: true, Caught: true, Blocked: true}, Reaps: true}, syscall.SIGTERM, true, Alone},
	} {
		if got := Before(&tt.facts, uint8(tt.signal), tt.ends); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		process proc.Process
		does    proc.Disposition
		nested  bool
		signal  syscall.Signal
		want    Answer
	}{
		"the kernel has queued SIGKILL":        {proc.Process{State: 'S', Pending: 1 << 8}, nothing, false, syscall.SIGTERM, Both},
		"a zombie":                             {proc.Process{State: 'Z'}, nothing, false, syscall.SIGTERM, Both},
		"on its way out":                       {proc.Process{State: 'R', Flags: 0x400444}, nothing, false, syscall.SIGTERM, Both},
		"tini takes it by sigwait":             {proc.Process{State: 'S'}, nothing, false, syscall.SIGTERM, Alone},
		"catatonit has it blocked, for a fd":   {proc.Process{State: 'S'}, blocks, false, syscall.SIGTERM, Alone},
		"PID 1 of a namespace drops it":        {proc.Process{State: 'S'}, nothing, true, syscall.SIGTERM, Within},
		"PID 1 of a namespace has ended":       {proc.Process{State: 'Z'}, nothing, true, syscall.SIGTERM, Both},
		"a core dump has not begun":            {proc.Process{State: 'S'}, nothing, false, syscall.SIGQUIT, Later},
		"gVisor says nothing":                  {proc.Process{State: 'S'}, unsaid, false, syscall.SIGTERM, Later},
		"a core dump is being written":         {proc.Process{State: 'D', Flags: 0x400600}, nothing, false, syscall.SIGQUIT, Both},
		"it has dumped core and is a zombie":   {proc.Process{State: 'Z', Flags: 0x40060c}, nothing, false, syscall.SIGQUIT, Both},
		"a real-time signal ends it like TERM": {proc.Process{State: 'S', Pending: 1 << 8}, nothing, false, 40, Both},
	} {
		if got := After(&tt.process, tt.does, tt.nested, uint8(tt.signal)); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestShellOf(t *testing.T) {
	for name, want := range map[string]ShellKind{"sh": OtherShell, "bash": Bash, "zsh": OtherShell, "bashful": 0, "": 0, "python3": 0, "busybox": 0} {
		if got := ShellOf(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestScript(t *testing.T) {
	for text, want := range map[string]Script{
		"bash\x00-c\x00prog; true\x00":                               {},
		"trap 'kill -TERM $pid' TERM; prog & wait\n":                 {Traps: true, Kills: true},
		"trap \"pkill -HUP prog\" SIGHUP\n":                          {Traps: true, Kills: true, Names: true},
		"trap cleanup HUP;":                                          {Traps: true, Names: true},
		"trapped=1 skills=2 killing HUPPLA":                          {Kills: true},
		"killall -q x\n":                                             {Kills: true},
		"/bin/sh\x00/usr/bin/mariadbd-safe\x00":                      {Watchdog: true},
		"/bin/sh\x00/usr/bin/mysqld_safe\x00--user=x\x00":            {Watchdog: true},
		"a_word_that_is_longer_than_any_that_counts_trap trap\x00":   {Traps: true},
		"no-trap a-kill\n":                                           {Kills: true},
		"bash\x00-c\x00trap\x00":                                     {Traps: true},
		"trap 'stop=1' TERM; while [ -z \"$stop\" ]; do job; done\n": {Traps: true},
	} {
		for piece := 1; piece <= len(text); piece += 5 {
			var got Script
			for rest := text; rest != ""; rest = rest[min(piece, len(rest)):] {
				got.Read([]byte(rest[:min(piece, len(rest))]), "SIGHUP")
			}
			got.n, got.word = 0, [16]byte{}
			if got != want {
				t.Errorf("%q in pieces of %d: %+v, want %+v", text, piece, got, want)
			}
		}
	}
}

// FuzzScript: in whatever pieces a script comes, the result is the same.
func FuzzScript(f *testing.F) {
	f.Add([]byte("trap 'kill -HUP $pid' HUP\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		var whole, pieces Script
		whole.Read(text, "SIGHUP")
		piece = max(1, piece&0xff)
		for rest := text; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			pieces.Read(rest[:min(piece, len(rest))], "SIGHUP")
		}
		if whole != pieces {
			t.Errorf("in pieces of %d: %+v, want %+v", piece, pieces, whole)
		}
	})
}
