#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at SP, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD RSP, R19 // a system call keeps it

	MOVD $135, R8 // rt_sigprocmask(SIG_SETMASK, &everySignal, &inheritedMask, 8)
	MOVD $2, R0
	MOVD $·everySignal(SB), R1
	MOVD $·inheritedMask(SB), R2
	MOVD $8, R3
	SVC

	MOVD $·blankG(SB), g
	SUB  $64, RSP
	MOVD R19, 8(RSP) // start's argument; 0(RSP) is for the link register
	CALL ·start(SB)
	BRK  // it does not return
