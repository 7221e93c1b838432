#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at SP, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOV X2, X9 // a system call keeps it

	MOV $135, A7 // rt_sigprocmask(SIG_SETMASK, &everySignal, &inheritedMask, 8)
	MOV $2, A0
	MOV $·everySignal(SB), A1
	MOV $·inheritedMask(SB), A2
	MOV $8, A3
	ECALL

	MOV  $·blankG(SB), g
	ADD  $-64, X2
	MOV  X9, 8(X2) // start's argument; 0(X2) is for the link register
	CALL ·start(SB)
	MOV  ZERO, (ZERO) // it does not return
