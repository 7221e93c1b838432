package kernel

// What package syscall, which is frozen, does not name; the tests hold these against golang.org/x/sys/unix. Importing
// that package would add its initialisers, and with them reflect, time and a hundred kilobytes.
const (
	sysCloseRange       = 436
	sigSetmask          = 2
	clockMonotonic      = 1
	clockBoottime       = 7
	prSetChildSubreaper = 36
	atFdcwd             = -100
	seekEnd             = 2
	pollIn              = 1
	pollOut             = 4
)

// NoExec is the flag of Statfs for a file system that nothing can be executed from.
const NoExec = 8
