package program

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBash holds what is said of bash against bash itself. Whether it puts a program in its own place does not depend on
// being PID 1.
func TestBash(t *testing.T) {
	for _, script := range []string{"sleep 60", "A=b sleep 60;", "sleep 60 >/dev/null", "sleep 60 2>&1", "time sleep 60", "! sleep 60", "true; sleep 60 </dev/null",
		"exec sleep 60", "(sleep 60)", "if true; then sleep 60; fi", "sleep 60 & wait", "sleep $(echo 60)", "sleep ${X:-60} # (a; b)"} {
		t.Run(script, func(t *testing.T) {
			shell := exec.Command("bash", "-c", script)
			if err := shell.Start(); err != nil {
				t.Fatal(err)
			}
			pid := strconv.Itoa(shell.Process.Pid)
			defer func() {
				for _, child := range append(children(pid), shell.Process.Pid) {
					if p, err := os.FindProcess(child); err == nil {
						_ = p.Kill() // it may have ended
					}
				}
				_ = shell.Wait() // killed
			}()
			want := map[Ending]string{Execs: "sleep", Replaces: "sleep", Stays: "bash"}[NewScript("bash", script).Ending()]
			got := ""
			for range 500 {
				if got = settled(pid); got != "" {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if want == "" || got != want {
				t.Errorf("%q runs, want %q", got, want)
			}
		})
	}
}

// settled is the name of a process that is sleep, or has a child that is; empty until then.
func settled(pid string) string {
	name := nameOf(pid)
	if name == "sleep" {
		return name
	}
	for _, child := range children(pid) {
		if nameOf(strconv.Itoa(child)) == "sleep" || settled(strconv.Itoa(child)) != "" {
			return name
		}
	}
	return ""
}

func nameOf(pid string) string {
	name, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended
	return strings.TrimSpace(string(name))
}

// children are the processes whose parent a process is.
func children(pid string) (all []int) {
	entries, _ := os.ReadDir("/proc") // without one nothing settles
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + entry.Name() + "/stat") // it may have ended
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == pid {
			all = append(all, child)
		}
	}
	return all
}
