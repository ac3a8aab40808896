# SPDX-License-Identifier: Apache-2.0
#
# Improves GCC's assembly of wasm_exec.c for Thumb-2. For `goto *table[op]` GCC
# loads a label's address, sets its Thumb bit and branches: three instructions.
# This sets the bit in the tables instead and loads the program counter
# directly: one. Other instructions may stand between the load and the branch;
# the load then moves down to the branch, if nothing between touches the
# registers that it uses. Anything that does not match stays as it is, and is
# still right, since setting the bit twice does no harm.

/^tables\.[0-9]+:/ { in_table = 1 }
in_table && /^\t\.(size|section|text|global)/ { in_table = 0 }
in_table && /^\t\.word\t\.L[0-9]+$/ { $0 = $0 "+1" }

function mentions(line, name) {
	return line ~ ("(^|[^a-z0-9])" name "([^a-z0-9]|$)")
}

# Gives out what is held, unchanged.
function flush_held(   i) {
	for (i = 0; i < n; i++) print held[i]
	n = 0
}

/^\tldr\tr[0-9]+, \[[a-z0-9]+, [a-z0-9]+, lsl #2\]$/ {
	flush_held()
	split($0, part, /[\t, \[\]]+/)
	to = part[3]
	table = part[4]
	index_ = part[5]
	marked = -1
	held[n++] = $0
	next
}
n > 0 && $0 == "\torr\t" to ", " to ", #1" && marked < 0 { marked = n; held[n++] = $0; next }
n > 0 && marked > 0 && index($0, "\tbx\t" to) == 1 {
	for (i = 1; i < n; i++) if (i != marked) print held[i]
	print "\tldr\tpc, [" table ", " index_ ", lsl #2]"
	n = 0
	count++
	next
}
n > 0 && n < 8 && /^\t[a-z]/ && !/^\t(b|bl|bx|blx|cbz|cbnz|b[a-z][a-z])\t/ && !mentions($0, to) && !mentions($0, table) && !mentions($0, index_) {
	held[n++] = $0
	next
}
{ flush_held(); print }
END { flush_held(); print "@ direct dispatches: " count }
