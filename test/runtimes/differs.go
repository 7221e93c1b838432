package main

// cgroupV1 are those that do not hold in a user namespace on a machine with cgroup v1.
var cgroupV1 = map[string]string{
	"hardened/together": "with cgroup v1, only the machine's root may limit another user's process",
}
