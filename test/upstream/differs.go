package main

import (
	"context"
	"os/exec"
)

const (
	counted = "the test wants the pod to have its own two init containers, and podinit's copier is a third"
	started = "the test takes the start of any container for that of its own, which is not to start, and podinit's copier does"
)

// copied are specs that podinit's copier, an init container of its own in each pod, makes end otherwise. They would do so with any
// other webhook that adds an init container.
var copied = map[string]string{
	"InitContainer should invoke init containers on a RestartAlways pod":                                           counted,
	"InitContainer should invoke init containers on a RestartNever pod":                                            counted,
	"InitContainer should not start app containers and fail the pod if init containers fail on a RestartNever pod": counted,
	"InitContainer should not start app containers if init containers fail on a RestartAlways pod":                 counted,
	"Security Context When creating a container with runAsNonRoot should not run with an explicit root user ID":    started,
	"Security Context When creating a container with runAsNonRoot should not run without a specified user ID":      started,
}

// pairs are specs that need two nodes.
var pairs = map[string]string{
	"Daemon set should rollback without unnecessary restarts": "the test needs two nodes",
}

// dummies are specs that need dummy network devices, which are a module of the kernel.
var dummies = map[string]string{
	"PrivilegedPod should enable privileged commands": "the machine's kernel has no dummy network devices",
}

// hasDummies tells whether the kernel has them, in a network namespace of its own.
func hasDummies(ctx context.Context) bool {
	return exec.CommandContext(ctx, "unshare", "--net", "ip", "link", "add", "upstream", "type", "dummy").Run() == nil
}
