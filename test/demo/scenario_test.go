package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseProcesses(t *testing.T) {
	for name, test := range map[string]struct {
		output  string
		pid1    string
		zombies int
	}{
		"zombies under a program": {
			output: "      1 Ss   python3 /app/orphans.py\n      6 Z    [sleep] <defunct>\n      8 Zs   [sleep] <defunct>\n     45 R    ps -ww\n",
			pid1:   "python3", zombies: 2,
		},
		"podinit": {
			output: "    1 Ss   /podinit/init --grace=10s -- python3 /app/orphans.py\n   12 S    python3 /app/orphans.py\n",
			pid1:   "/podinit/init",
		},
		"a program with a capital Z": {
			output: "1 Ss /bin/Z Z\n",
			pid1:   "/bin/Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pid1, zombies, err := parseProcesses(test.output)
			if pid1 != test.pid1 || zombies != test.zombies || err != nil {
				t.Errorf("got %q, %d zombies, %v; want %q, %d", pid1, zombies, err, test.pid1, test.zombies)
			}
		})
	}
}

func TestParseProcessesRefuses(t *testing.T) {
	for _, output := range []string{"", "2 S sleep 1\n", "ps: no /proc\n1\n"} {
		if pid1, zombies, err := parseProcesses(output); err == nil {
			t.Errorf("ps printed %q: got %q, %d and no error", output, pid1, zombies)
		}
	}
}

// asWanted is what a demo sees when all is as it must be; withNode on a cluster with podinit-node.
func asWanted(withNode bool) []result {
	var results []result
	for _, s := range scenarios {
		seen := func(want expectation) outcome {
			got := outcome{pid1: want.pid1, zombies: want.zombies, logged: want.logged, exitCode: want.exitCode, gone: 3800 * time.Millisecond, admitted: s.pod("app:1")}
			if want.killed {
				got.gone = 11200 * time.Millisecond
			}
			return got
		}
		r := result{scenario: s, plain: seen(s.wantPlain), podinit: seen(s.wantPodinit)}
		if withNode {
			byNode := seen(s.wantPodinit)
			r.node = &byNode
		}
		results = append(results, r)
	}
	return results
}

func TestCheck(t *testing.T) {
	for _, withNode := range []bool{false, true} {
		if err := check(asWanted(withNode)); err != nil {
			t.Errorf("all as wanted, node mode %v: %v", withNode, err)
		}
	}
	for name, test := range map[string]struct {
		change func(r *result) // of the first pod: a shell around Python
		want   string
	}{
		"not injected":            {func(r *result) { r.podinit.pid1 = "/bin/sh" }, "podinit-demo/shell-entrypoint: PID 1 is /bin/sh, want /podinit/init"},
		"a zombie":                {func(r *result) { r.podinit.zombies = 1 }, "podinit-demo/shell-entrypoint: 1 zombies after 3.0 s, want 0"},
		"no atexit hook":          {func(r *result) { r.podinit.logged = r.podinit.logged[:1] }, `logged ["SIGTERM handler ran"] at shutdown, want ["SIGTERM handler ran" "atexit hook ran"]`},
		"too slow":                {func(r *result) { r.podinit.gone = 12 * time.Second }, "podinit-demo/shell-entrypoint: gone after 12.0 s, want less than the 11.2 s without podinit"},
		"killed":                  {func(r *result) { r.podinit.exitCode = 137 }, "exit code 137, want 143"},
		"not wrapped by the node": {func(r *result) { r.node.pid1 = "/bin/sh" }, "podinit-demo-node/shell-entrypoint: PID 1 is /bin/sh, want /podinit/init"},
		"too slow on the node":    {func(r *result) { r.node.gone = 12 * time.Second }, "podinit-demo-node/shell-entrypoint: gone after 12.0 s, want less than the 11.2 s without podinit"},
		"wrapped by the webhook": {
			func(r *result) { r.node.admitted.Spec.Containers[0].Command = []string{initPath} },
			"podinit-demo-node/shell-entrypoint: admission has changed it, and the node alone was to wrap it",
		},
		"annotated by the webhook": {
			func(r *result) { r.node.admitted.Annotations = map[string]string{"podinit.dev/status": "{}"} },
			"podinit-demo-node/shell-entrypoint: admission has changed it, and the node alone was to wrap it",
		},
		"no trouble in plain": {func(r *result) { r.plain.gone = 5 * time.Second }, "podinit-demo-plain/shell-entrypoint: gone after 5.0 s, want the whole grace period of 10.0 s"},
	} {
		t.Run(name, func(t *testing.T) {
			results := asWanted(true)
			test.change(&results[0])
			err := check(results)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), "pod ") != 1 {
				t.Errorf("got %v, want one problem: %s", err, test.want)
			}
		})
	}
}
