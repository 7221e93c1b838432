#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at R1, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD R1, R14 // a system call keeps it

	MOVD    $2, R3 // rt_sigprocmask(SIG_SETMASK, &everySignal, &inheritedMask, 8)
	MOVD    $·everySignal(SB), R4
	MOVD    $·inheritedMask(SB), R5
	MOVD    $8, R6
	SYSCALL $174

	XOR  R0, R0 // Go code takes it for zero
	MOVD $·blankG(SB), g
	ADD  $-64, R1
	MOVD R14, 32(R1) // start's argument, behind the fixed part of a frame
	BL   ·start(SB)
	MOVD R0, (R0) // it does not return
