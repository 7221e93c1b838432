package main

// cgroupV1 are those that do not hold in a user namespace on a machine with cgroup v1.
var cgroupV1 = map[string]string{
	"hardened/together": "with cgroup v1, only the machine's root may limit another user's process",
}

// What gVisor does not have.
const (
	noDispositions = "`/proc` does not show what a process does about a signal: see [the init](init.md)"
	noStatus       = "`/proc/PID/status` has neither signals nor umask, so nothing can be compared"
)

// gVisor are those that do not hold in gVisor.
var gVisor = map[string]string{
	"auto/read-again":          noDispositions,
	"auto/ignorer-passed-over": noDispositions,
	"auto/child-of-a-thread":   noDispositions,
	"drain/stop-by-rewrite":    noDispositions,
	"drain/stop-signal":        noDispositions,
	"fidelity/mask":            noStatus,
	"fidelity/mask-empty":      noStatus,
	"fidelity/mask-full":       noStatus,
	"fidelity/ignored":         noStatus,
	"fidelity/ignored-chld":    noStatus,
	"fidelity/ignored-none":    noStatus,
	"fidelity/ignored-all":     noStatus,
	"fidelity/umask":           noStatus,
	"fidelity/priority":        "`/proc/PID/timerslack_ns` is missing",
	"exit/busy":                "a file that is open for writing can be executed",
	"message/core":             "there are no core dumps",
	"hardened/pids-too-few":    "`pids.max` of a cgroup has no effect",
	"hardened/setuid":          "the set-user-ID bit has no effect",
	"storm/signals":            "no more than 32 real-time signals of a kind are queued",
}
