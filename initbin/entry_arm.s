#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at SP, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVW R13, R4 // a system call keeps it

	MOVW $175, R7 // rt_sigprocmask(SIG_SETMASK, &everySignal, &inheritedMask, 8)
	MOVW $2, R0
	MOVW $·everySignal(SB), R1
	MOVW $·inheritedMask(SB), R2
	MOVW $8, R3
	SWI  $0

	MOVW $·blankG(SB), g
	SUB  $64, R13
	MOVW R4, 4(R13) // start's argument; 0(R13) is for the link register
	BL   ·start(SB)
	MOVW $0, R0
	MOVW R0, (R0) // it does not return
