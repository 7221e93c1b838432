#include "textflag.h"

// The kernel enters here (ld -E): argc, argv and the environment lie at SP, and nothing else is set up.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ SP, ·block(SB)

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

	MOVQ ·block(SB), AX
	SUBQ $64, SP
	MOVQ AX, 0(SP)
	CALL ·start(SB)

	MOVQ $14, AX // rt_sigprocmask(SIG_SETMASK, &inheritedMask, NULL, 8)
	MOVQ $2, DI
	LEAQ ·inheritedMask(SB), SI
	MOVQ $0, DX
	MOVQ $8, R10
	SYSCALL
	MOVQ ·block(SB), SP
	JMP  _rt0_amd64_linux(SB)
