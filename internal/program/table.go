package program

// known is what is known about a program.
type known struct {
	kind  Kind
	flags flags
	// operands of its own, such as a user, are between its flags and the program that it starts.
	operands int
	// env is set where NAME=value words are operands, and -S has words in its value.
	env bool
	// group is the flag by which an Init sends signals to the whole process group; or it does so without alone.
	group string
	alone []string
}

const podinit = "podinit"

var (
	tini     = known{kind: Init, flags: flags{short: "hvwgle:p:s", long: []string{"version"}}, group: "g"}
	system   = known{kind: System}
	shell    = known{kind: Shell}
	applets  = known{kind: Wrapper}
	withUser = known{kind: Wrapper, operands: 1}
)

// table has the programs that are known, by name. The flags are those of tini 0.19, dumb-init 1.2, catatonit 0.2, pid1 0.1,
// coreutils 9, util-linux 2.40, gosu 1.17, su-exec 0.2, runit 2.2 and s6 2.12; those of busybox are among them.
var table = map[string]known{
	"tini": tini, "tini-static": tini, "docker-init": tini,
	"dumb-init": {kind: Init, alone: []string{"c", "single-child"}, flags: flags{short: "hVcvr:", long: []string{
		"help", "version", "single-child", "verbose", "rewrite="}}},
	"catatonit": {kind: Init, flags: flags{short: "ghLPV"}, group: "g"},
	"pid1": {kind: Init, flags: flags{short: "e:u:g:w:t:v", long: []string{
		"env=", "user=", "user-id=", "group=", "group-id=", "workdir=", "timeout=", "verbose"}}},
	podinit: {kind: Init}, // initbin/options has its flags

	"systemd": system, "init": system, "openrc-init": system, "runit": system, "runit-init": system, "my_init": system,
	"s6-svscan": system, "upstart": system,

	"sh": shell, "bash": shell, "dash": shell, "ash": shell, "ksh": shell, "ksh93": shell, "mksh": shell, "zsh": shell,

	"busybox": applets, "toybox": applets,
	"gosu": withUser, "su-exec": withUser, "s6-setuidgid": withUser,
	"env": {kind: Wrapper, env: true, flags: flags{short: "iu:C:S:a:v0", long: []string{
		"ignore-environment", "null", "unset=", "chdir=", "split-string=", "argv0=", "block-signal", "default-signal",
		"ignore-signal", "list-signal-handling", "debug", "help", "version"}}},
	"setpriv": {kind: Wrapper, flags: flags{short: "dhV", long: []string{
		"dump", "nnp", "no-new-privs", "ambient-caps=", "inh-caps=", "bounding-set=", "ruid=", "euid=", "rgid=", "egid=", "reuid=",
		"regid=", "clear-groups", "keep-groups", "init-groups", "groups=", "list-caps", "securebits=", "pdeathsig=", "ptracer=",
		"selinux-label=", "apparmor-profile=", "landlock-access=", "landlock-rule=", "seccomp-filter=", "reset-env", "help", "version"}}},
	"chpst":  {kind: Wrapper, flags: flags{short: "u:U:b:e:/:C:n:l:L:m:d:o:p:f:c:r:t:PV012v"}},
	"chroot": {kind: Wrapper, operands: 1, flags: flags{long: []string{"groups=", "userspec=", "skip-chdir", "help", "version"}}},
	"nice":   {kind: Wrapper, flags: flags{short: "n:", long: []string{"adjustment=", "help", "version"}}},
	"nohup":  {kind: Wrapper, flags: flags{long: []string{"help", "version"}}},
	"stdbuf": {kind: Wrapper, flags: flags{short: "i:o:e:", long: []string{"input=", "output=", "error=", "help", "version"}}},
	"ionice": {kind: Wrapper, flags: flags{short: "c:n:p:P:u:thV", long: []string{
		"class=", "classdata=", "pid=", "pgid=", "uid=", "ignore", "help", "version"}}},
	"taskset": {kind: Wrapper, operands: 1, flags: flags{short: "apchV", long: []string{"all-tasks", "pid", "cpu-list", "help", "version"}}},
	"chrt": {kind: Wrapper, operands: 1, flags: flags{short: "abdfimoRrT:P:D:pvhV", long: []string{
		"all-tasks", "batch", "deadline", "fifo", "idle", "max", "other", "reset-on-fork", "rr", "sched-runtime=", "sched-period=",
		"sched-deadline=", "pid", "verbose", "help", "version"}}},

	"timeout": {kind: Monitor, operands: 1, flags: flags{short: "fk:ps:v", long: []string{
		"foreground", "kill-after=", "preserve-status", "signal=", "verbose", "help", "version"}}},
}
