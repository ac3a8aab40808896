#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs an ELF on a virtual MPS2 board until it resets: run.sh MACHINE ELF [QEMU
# OPTION...]. The status is that of the program (board_exit).
machine=$1 elf=$2
shift 2
out=$(mktemp)
trap 'rm -f "$out"' EXIT
timeout "${BOARD_TIMEOUT:-900}" qemu-system-arm -M "$machine" -nographic -monitor none -serial stdio -no-reboot \
	-kernel "$elf" "$@" </dev/null | tee "$out"
tail -n 1 "$out" | grep -q '^EXIT OK'
