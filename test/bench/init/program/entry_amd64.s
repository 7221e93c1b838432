#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at SP, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ SP, R12 // a system call keeps it

	MOVQ $14, AX // rt_sigprocmask(SIG_SETMASK, &everySignal, &inheritedMask, 8)
	MOVQ $2, DI
	LEAQ ·everySignal(SB), SI
	LEAQ ·inheritedMask(SB), DX
	MOVQ $8, R10
	SYSCALL

	MOVQ $158, AX // arch_prctl(ARCH_SET_FS, ...): Go finds g at -8(FS)
	MOVQ $0x1002, DI
	LEAQ ·threadLocal+8(SB), SI
	SYSCALL

	SUBQ $64, SP
	MOVQ R12, 0(SP) // start's argument
	CALL ·start(SB)
	INT  $3 // it does not return
