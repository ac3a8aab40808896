// SPDX-License-Identifier: Apache-2.0

//go:build linux

#include "textflag.h"

// func install()
TEXT ·install(SB), NOSPLIT, $0-0
	MOVQ	runtime·vdsoClockgettimeSym(SB), AX
	CMPQ	AX, $0
	JEQ	none
	MOVQ	AX, ·kernel(SB)
	LEAQ	read<>(SB), CX
	MOVQ	CX, runtime·vdsoClockgettimeSym(SB)
none:
	RET

// read is clock_gettime as C calls it: DI says which clock, SI where the time goes. CLOCK_REALTIME is 0.
TEXT read<>(SB), NOSPLIT|NOFRAME, $0
	CMPL	DI, $0
	JNE	other
	PUSHQ	SI
	MOVQ	·kernel(SB), AX
	CALL	AX
	POPQ	SI
	MOVQ	·offset(SB), CX
	ADDQ	CX, 0(SI)
	RET
other:
	MOVQ	·kernel(SB), AX
	JMP	AX
