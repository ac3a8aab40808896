# SPDX-License-Identifier: Apache-2.0
#
# Improves GCC's assembly of wasm_exec.c for Thumb-2. For `goto *table[op]` GCC
# loads a label's address, sets its Thumb bit and branches: three instructions.
# This sets the bit in the tables instead and loads the program counter
# directly: one. Anything that does not match stays as it is, and is still
# right, since setting the bit twice does no harm.

/^tables\.[0-9]+:/ { in_table = 1 }
in_table && /^\t\.(size|section|text|global)/ { in_table = 0 }
in_table && /^\t\.word\t\.L[0-9]+$/ { $0 = $0 "+1" }

function flush_held() {
	if (held) print held
	if (held2) print held2
	held = held2 = ""
}

/^\tldr\tr[0-9]+, \[[a-z0-9]+, [a-z0-9]+, lsl #2\]$/ {
	flush_held()
	held = $0
	split($0, part, /[\t,]/)
	reg = part[3]
	next
}
held && !held2 && $0 == "\torr\t" reg ", " reg ", #1" { held2 = $0; next }
held2 && index($0, "\tbx\t" reg) == 1 {
	sub("ldr\t" reg, "ldr\tpc", held)
	print held
	held = held2 = ""
	count++
	next
}
{ flush_held(); print }
END { flush_held(); print "@ direct dispatches: " count }
