// SPDX-License-Identifier: Apache-2.0
/*
 * The opcode table: what the validator, the interpreter, the trap locator and
 * the program generator know about an instruction comes from here.
 *
 * WASM_CONTROL(X)  instructions whose types depend on their context
 * WASM_SIMPLE(X)   instructions with fixed operand and result types
 * WASM_PREFIXED(X) instructions behind the byte 0xfc
 *
 * X(code, id, name, home, immediate[, first operand, second operand, result, alignment])
 *
 * home is the number of operands that the interpreter's main implementation of
 * the instruction expects in registers (see wasm_exec.c): 0, 1 or 2.
 * alignment is the base-two logarithm of the access width.
 * Immediates: NO none, INDEX one index, INDEX2 two, BLOCK a block type, LABELS
 * a label vector, TYPES a type vector, MEM alignment and offset, REF a heap
 * type, PREFIX another opcode, the others a constant.
 */
#ifndef WASM_OPCODES_H
#define WASM_OPCODES_H

#define WASM_CONTROL(X) \
  X(0x00, unreachable, "unreachable", 0, NO) \
  X(0x01, nop, "nop", 0, NO) \
  X(0x02, block, "block", 0, BLOCK) \
  X(0x03, loop, "loop", 0, BLOCK) \
  X(0x04, if_, "if", 1, BLOCK) \
  X(0x05, else_, "else", 0, NO) \
  X(0x0b, end, "end", 0, NO) \
  X(0x0c, br, "br", 0, INDEX) \
  X(0x0d, br_if, "br_if", 1, INDEX) \
  X(0x0e, br_table, "br_table", 1, LABELS) \
  X(0x0f, return_, "return", 0, NO) \
  X(0x10, call, "call", 0, INDEX) \
  X(0x11, call_indirect, "call_indirect", 1, INDEX2) \
  X(0x1a, drop, "drop", 1, NO) \
  X(0x1b, select, "select", 2, NO) \
  X(0x1c, select_t, "select", 0, TYPES) \
  X(0x20, local_get, "local.get", 0, INDEX) \
  X(0x21, local_set, "local.set", 1, INDEX) \
  X(0x22, local_tee, "local.tee", 1, INDEX) \
  X(0x23, global_get, "global.get", 0, INDEX) \
  X(0x24, global_set, "global.set", 1, INDEX) \
  X(0x25, table_get, "table.get", 1, INDEX) \
  X(0x26, table_set, "table.set", 2, INDEX) \
  X(0x3f, memory_size, "memory.size", 0, INDEX) \
  X(0x40, memory_grow, "memory.grow", 1, INDEX) \
  X(0x41, i32_const, "i32.const", 0, I32) \
  X(0x42, i64_const, "i64.const", 0, I64) \
  X(0x43, f32_const, "f32.const", 0, F32) \
  X(0x44, f64_const, "f64.const", 0, F64) \
  X(0xd0, ref_null, "ref.null", 0, REF) \
  X(0xd1, ref_is_null, "ref.is_null", 1, NO) \
  X(0xd2, ref_func, "ref.func", 0, INDEX) \
  X(0xfc, prefix, "prefix", 0, PREFIX)

#define WASM_SIMPLE(X) \
  X(0x28, i32_load, "i32.load", 1, MEM, I32, NONE, I32, 2) \
  X(0x29, i64_load, "i64.load", 1, MEM, I32, NONE, I64, 3) \
  X(0x2a, f32_load, "f32.load", 1, MEM, I32, NONE, F32, 2) \
  X(0x2b, f64_load, "f64.load", 1, MEM, I32, NONE, F64, 3) \
  X(0x2c, i32_load8_s, "i32.load8_s", 1, MEM, I32, NONE, I32, 0) \
  X(0x2d, i32_load8_u, "i32.load8_u", 1, MEM, I32, NONE, I32, 0) \
  X(0x2e, i32_load16_s, "i32.load16_s", 1, MEM, I32, NONE, I32, 1) \
  X(0x2f, i32_load16_u, "i32.load16_u", 1, MEM, I32, NONE, I32, 1) \
  X(0x30, i64_load8_s, "i64.load8_s", 1, MEM, I32, NONE, I64, 0) \
  X(0x31, i64_load8_u, "i64.load8_u", 1, MEM, I32, NONE, I64, 0) \
  X(0x32, i64_load16_s, "i64.load16_s", 1, MEM, I32, NONE, I64, 1) \
  X(0x33, i64_load16_u, "i64.load16_u", 1, MEM, I32, NONE, I64, 1) \
  X(0x34, i64_load32_s, "i64.load32_s", 1, MEM, I32, NONE, I64, 2) \
  X(0x35, i64_load32_u, "i64.load32_u", 1, MEM, I32, NONE, I64, 2) \
  X(0x36, i32_store, "i32.store", 2, MEM, I32, I32, NONE, 2) \
  X(0x37, i64_store, "i64.store", 0, MEM, I32, I64, NONE, 3) \
  X(0x38, f32_store, "f32.store", 2, MEM, I32, F32, NONE, 2) \
  X(0x39, f64_store, "f64.store", 0, MEM, I32, F64, NONE, 3) \
  X(0x3a, i32_store8, "i32.store8", 2, MEM, I32, I32, NONE, 0) \
  X(0x3b, i32_store16, "i32.store16", 2, MEM, I32, I32, NONE, 1) \
  X(0x3c, i64_store8, "i64.store8", 0, MEM, I32, I64, NONE, 0) \
  X(0x3d, i64_store16, "i64.store16", 0, MEM, I32, I64, NONE, 1) \
  X(0x3e, i64_store32, "i64.store32", 0, MEM, I32, I64, NONE, 2) \
  X(0x45, i32_eqz, "i32.eqz", 1, NO, I32, NONE, I32, 0) \
  X(0x46, i32_eq, "i32.eq", 2, NO, I32, I32, I32, 0) \
  X(0x47, i32_ne, "i32.ne", 2, NO, I32, I32, I32, 0) \
  X(0x48, i32_lt_s, "i32.lt_s", 2, NO, I32, I32, I32, 0) \
  X(0x49, i32_lt_u, "i32.lt_u", 2, NO, I32, I32, I32, 0) \
  X(0x4a, i32_gt_s, "i32.gt_s", 2, NO, I32, I32, I32, 0) \
  X(0x4b, i32_gt_u, "i32.gt_u", 2, NO, I32, I32, I32, 0) \
  X(0x4c, i32_le_s, "i32.le_s", 2, NO, I32, I32, I32, 0) \
  X(0x4d, i32_le_u, "i32.le_u", 2, NO, I32, I32, I32, 0) \
  X(0x4e, i32_ge_s, "i32.ge_s", 2, NO, I32, I32, I32, 0) \
  X(0x4f, i32_ge_u, "i32.ge_u", 2, NO, I32, I32, I32, 0) \
  X(0x50, i64_eqz, "i64.eqz", 0, NO, I64, NONE, I32, 0) \
  X(0x51, i64_eq, "i64.eq", 0, NO, I64, I64, I32, 0) \
  X(0x52, i64_ne, "i64.ne", 0, NO, I64, I64, I32, 0) \
  X(0x53, i64_lt_s, "i64.lt_s", 0, NO, I64, I64, I32, 0) \
  X(0x54, i64_lt_u, "i64.lt_u", 0, NO, I64, I64, I32, 0) \
  X(0x55, i64_gt_s, "i64.gt_s", 0, NO, I64, I64, I32, 0) \
  X(0x56, i64_gt_u, "i64.gt_u", 0, NO, I64, I64, I32, 0) \
  X(0x57, i64_le_s, "i64.le_s", 0, NO, I64, I64, I32, 0) \
  X(0x58, i64_le_u, "i64.le_u", 0, NO, I64, I64, I32, 0) \
  X(0x59, i64_ge_s, "i64.ge_s", 0, NO, I64, I64, I32, 0) \
  X(0x5a, i64_ge_u, "i64.ge_u", 0, NO, I64, I64, I32, 0) \
  X(0x5b, f32_eq, "f32.eq", 2, NO, F32, F32, I32, 0) \
  X(0x5c, f32_ne, "f32.ne", 2, NO, F32, F32, I32, 0) \
  X(0x5d, f32_lt, "f32.lt", 2, NO, F32, F32, I32, 0) \
  X(0x5e, f32_gt, "f32.gt", 2, NO, F32, F32, I32, 0) \
  X(0x5f, f32_le, "f32.le", 2, NO, F32, F32, I32, 0) \
  X(0x60, f32_ge, "f32.ge", 2, NO, F32, F32, I32, 0) \
  X(0x61, f64_eq, "f64.eq", 0, NO, F64, F64, I32, 0) \
  X(0x62, f64_ne, "f64.ne", 0, NO, F64, F64, I32, 0) \
  X(0x63, f64_lt, "f64.lt", 0, NO, F64, F64, I32, 0) \
  X(0x64, f64_gt, "f64.gt", 0, NO, F64, F64, I32, 0) \
  X(0x65, f64_le, "f64.le", 0, NO, F64, F64, I32, 0) \
  X(0x66, f64_ge, "f64.ge", 0, NO, F64, F64, I32, 0) \
  X(0x67, i32_clz, "i32.clz", 1, NO, I32, NONE, I32, 0) \
  X(0x68, i32_ctz, "i32.ctz", 1, NO, I32, NONE, I32, 0) \
  X(0x69, i32_popcnt, "i32.popcnt", 1, NO, I32, NONE, I32, 0) \
  X(0x6a, i32_add, "i32.add", 2, NO, I32, I32, I32, 0) \
  X(0x6b, i32_sub, "i32.sub", 2, NO, I32, I32, I32, 0) \
  X(0x6c, i32_mul, "i32.mul", 2, NO, I32, I32, I32, 0) \
  X(0x6d, i32_div_s, "i32.div_s", 2, NO, I32, I32, I32, 0) \
  X(0x6e, i32_div_u, "i32.div_u", 2, NO, I32, I32, I32, 0) \
  X(0x6f, i32_rem_s, "i32.rem_s", 2, NO, I32, I32, I32, 0) \
  X(0x70, i32_rem_u, "i32.rem_u", 2, NO, I32, I32, I32, 0) \
  X(0x71, i32_and, "i32.and", 2, NO, I32, I32, I32, 0) \
  X(0x72, i32_or, "i32.or", 2, NO, I32, I32, I32, 0) \
  X(0x73, i32_xor, "i32.xor", 2, NO, I32, I32, I32, 0) \
  X(0x74, i32_shl, "i32.shl", 2, NO, I32, I32, I32, 0) \
  X(0x75, i32_shr_s, "i32.shr_s", 2, NO, I32, I32, I32, 0) \
  X(0x76, i32_shr_u, "i32.shr_u", 2, NO, I32, I32, I32, 0) \
  X(0x77, i32_rotl, "i32.rotl", 2, NO, I32, I32, I32, 0) \
  X(0x78, i32_rotr, "i32.rotr", 2, NO, I32, I32, I32, 0) \
  X(0x79, i64_clz, "i64.clz", 0, NO, I64, NONE, I64, 0) \
  X(0x7a, i64_ctz, "i64.ctz", 0, NO, I64, NONE, I64, 0) \
  X(0x7b, i64_popcnt, "i64.popcnt", 0, NO, I64, NONE, I64, 0) \
  X(0x7c, i64_add, "i64.add", 0, NO, I64, I64, I64, 0) \
  X(0x7d, i64_sub, "i64.sub", 0, NO, I64, I64, I64, 0) \
  X(0x7e, i64_mul, "i64.mul", 0, NO, I64, I64, I64, 0) \
  X(0x7f, i64_div_s, "i64.div_s", 0, NO, I64, I64, I64, 0) \
  X(0x80, i64_div_u, "i64.div_u", 0, NO, I64, I64, I64, 0) \
  X(0x81, i64_rem_s, "i64.rem_s", 0, NO, I64, I64, I64, 0) \
  X(0x82, i64_rem_u, "i64.rem_u", 0, NO, I64, I64, I64, 0) \
  X(0x83, i64_and, "i64.and", 0, NO, I64, I64, I64, 0) \
  X(0x84, i64_or, "i64.or", 0, NO, I64, I64, I64, 0) \
  X(0x85, i64_xor, "i64.xor", 0, NO, I64, I64, I64, 0) \
  X(0x86, i64_shl, "i64.shl", 0, NO, I64, I64, I64, 0) \
  X(0x87, i64_shr_s, "i64.shr_s", 0, NO, I64, I64, I64, 0) \
  X(0x88, i64_shr_u, "i64.shr_u", 0, NO, I64, I64, I64, 0) \
  X(0x89, i64_rotl, "i64.rotl", 0, NO, I64, I64, I64, 0) \
  X(0x8a, i64_rotr, "i64.rotr", 0, NO, I64, I64, I64, 0) \
  X(0x8b, f32_abs, "f32.abs", 1, NO, F32, NONE, F32, 0) \
  X(0x8c, f32_neg, "f32.neg", 1, NO, F32, NONE, F32, 0) \
  X(0x8d, f32_ceil, "f32.ceil", 1, NO, F32, NONE, F32, 0) \
  X(0x8e, f32_floor, "f32.floor", 1, NO, F32, NONE, F32, 0) \
  X(0x8f, f32_trunc, "f32.trunc", 1, NO, F32, NONE, F32, 0) \
  X(0x90, f32_nearest, "f32.nearest", 1, NO, F32, NONE, F32, 0) \
  X(0x91, f32_sqrt, "f32.sqrt", 1, NO, F32, NONE, F32, 0) \
  X(0x92, f32_add, "f32.add", 2, NO, F32, F32, F32, 0) \
  X(0x93, f32_sub, "f32.sub", 2, NO, F32, F32, F32, 0) \
  X(0x94, f32_mul, "f32.mul", 2, NO, F32, F32, F32, 0) \
  X(0x95, f32_div, "f32.div", 2, NO, F32, F32, F32, 0) \
  X(0x96, f32_min, "f32.min", 2, NO, F32, F32, F32, 0) \
  X(0x97, f32_max, "f32.max", 2, NO, F32, F32, F32, 0) \
  X(0x98, f32_copysign, "f32.copysign", 2, NO, F32, F32, F32, 0) \
  X(0x99, f64_abs, "f64.abs", 0, NO, F64, NONE, F64, 0) \
  X(0x9a, f64_neg, "f64.neg", 0, NO, F64, NONE, F64, 0) \
  X(0x9b, f64_ceil, "f64.ceil", 0, NO, F64, NONE, F64, 0) \
  X(0x9c, f64_floor, "f64.floor", 0, NO, F64, NONE, F64, 0) \
  X(0x9d, f64_trunc, "f64.trunc", 0, NO, F64, NONE, F64, 0) \
  X(0x9e, f64_nearest, "f64.nearest", 0, NO, F64, NONE, F64, 0) \
  X(0x9f, f64_sqrt, "f64.sqrt", 0, NO, F64, NONE, F64, 0) \
  X(0xa0, f64_add, "f64.add", 0, NO, F64, F64, F64, 0) \
  X(0xa1, f64_sub, "f64.sub", 0, NO, F64, F64, F64, 0) \
  X(0xa2, f64_mul, "f64.mul", 0, NO, F64, F64, F64, 0) \
  X(0xa3, f64_div, "f64.div", 0, NO, F64, F64, F64, 0) \
  X(0xa4, f64_min, "f64.min", 0, NO, F64, F64, F64, 0) \
  X(0xa5, f64_max, "f64.max", 0, NO, F64, F64, F64, 0) \
  X(0xa6, f64_copysign, "f64.copysign", 0, NO, F64, F64, F64, 0) \
  X(0xa7, i32_wrap_i64, "i32.wrap_i64", 0, NO, I64, NONE, I32, 0) \
  X(0xa8, i32_trunc_f32_s, "i32.trunc_f32_s", 1, NO, F32, NONE, I32, 0) \
  X(0xa9, i32_trunc_f32_u, "i32.trunc_f32_u", 1, NO, F32, NONE, I32, 0) \
  X(0xaa, i32_trunc_f64_s, "i32.trunc_f64_s", 0, NO, F64, NONE, I32, 0) \
  X(0xab, i32_trunc_f64_u, "i32.trunc_f64_u", 0, NO, F64, NONE, I32, 0) \
  X(0xac, i64_extend_i32_s, "i64.extend_i32_s", 1, NO, I32, NONE, I64, 0) \
  X(0xad, i64_extend_i32_u, "i64.extend_i32_u", 1, NO, I32, NONE, I64, 0) \
  X(0xae, i64_trunc_f32_s, "i64.trunc_f32_s", 1, NO, F32, NONE, I64, 0) \
  X(0xaf, i64_trunc_f32_u, "i64.trunc_f32_u", 1, NO, F32, NONE, I64, 0) \
  X(0xb0, i64_trunc_f64_s, "i64.trunc_f64_s", 0, NO, F64, NONE, I64, 0) \
  X(0xb1, i64_trunc_f64_u, "i64.trunc_f64_u", 0, NO, F64, NONE, I64, 0) \
  X(0xb2, f32_convert_i32_s, "f32.convert_i32_s", 1, NO, I32, NONE, F32, 0) \
  X(0xb3, f32_convert_i32_u, "f32.convert_i32_u", 1, NO, I32, NONE, F32, 0) \
  X(0xb4, f32_convert_i64_s, "f32.convert_i64_s", 0, NO, I64, NONE, F32, 0) \
  X(0xb5, f32_convert_i64_u, "f32.convert_i64_u", 0, NO, I64, NONE, F32, 0) \
  X(0xb6, f32_demote_f64, "f32.demote_f64", 0, NO, F64, NONE, F32, 0) \
  X(0xb7, f64_convert_i32_s, "f64.convert_i32_s", 1, NO, I32, NONE, F64, 0) \
  X(0xb8, f64_convert_i32_u, "f64.convert_i32_u", 1, NO, I32, NONE, F64, 0) \
  X(0xb9, f64_convert_i64_s, "f64.convert_i64_s", 0, NO, I64, NONE, F64, 0) \
  X(0xba, f64_convert_i64_u, "f64.convert_i64_u", 0, NO, I64, NONE, F64, 0) \
  X(0xbb, f64_promote_f32, "f64.promote_f32", 1, NO, F32, NONE, F64, 0) \
  X(0xbc, i32_reinterpret_f32, "i32.reinterpret_f32", 1, NO, F32, NONE, I32, 0) \
  X(0xbd, i64_reinterpret_f64, "i64.reinterpret_f64", 0, NO, F64, NONE, I64, 0) \
  X(0xbe, f32_reinterpret_i32, "f32.reinterpret_i32", 1, NO, I32, NONE, F32, 0) \
  X(0xbf, f64_reinterpret_i64, "f64.reinterpret_i64", 0, NO, I64, NONE, F64, 0) \
  X(0xc0, i32_extend8_s, "i32.extend8_s", 1, NO, I32, NONE, I32, 0) \
  X(0xc1, i32_extend16_s, "i32.extend16_s", 1, NO, I32, NONE, I32, 0) \
  X(0xc2, i64_extend8_s, "i64.extend8_s", 0, NO, I64, NONE, I64, 0) \
  X(0xc3, i64_extend16_s, "i64.extend16_s", 0, NO, I64, NONE, I64, 0) \
  X(0xc4, i64_extend32_s, "i64.extend32_s", 0, NO, I64, NONE, I64, 0)

#define WASM_PREFIXED(X) \
  X(0, i32_trunc_sat_f32_s, "i32.trunc_sat_f32_s", 0, NO, F32, NONE, I32, 0) \
  X(1, i32_trunc_sat_f32_u, "i32.trunc_sat_f32_u", 0, NO, F32, NONE, I32, 0) \
  X(2, i32_trunc_sat_f64_s, "i32.trunc_sat_f64_s", 0, NO, F64, NONE, I32, 0) \
  X(3, i32_trunc_sat_f64_u, "i32.trunc_sat_f64_u", 0, NO, F64, NONE, I32, 0) \
  X(4, i64_trunc_sat_f32_s, "i64.trunc_sat_f32_s", 0, NO, F32, NONE, I64, 0) \
  X(5, i64_trunc_sat_f32_u, "i64.trunc_sat_f32_u", 0, NO, F32, NONE, I64, 0) \
  X(6, i64_trunc_sat_f64_s, "i64.trunc_sat_f64_s", 0, NO, F64, NONE, I64, 0) \
  X(7, i64_trunc_sat_f64_u, "i64.trunc_sat_f64_u", 0, NO, F64, NONE, I64, 0) \
  X(8, memory_init, "memory.init", 0, INDEX2, NONE, NONE, NONE, 0) \
  X(9, data_drop, "data.drop", 0, INDEX, NONE, NONE, NONE, 0) \
  X(10, memory_copy, "memory.copy", 0, INDEX2, NONE, NONE, NONE, 0) \
  X(11, memory_fill, "memory.fill", 0, INDEX, NONE, NONE, NONE, 0) \
  X(12, table_init, "table.init", 0, INDEX2, NONE, NONE, NONE, 0) \
  X(13, elem_drop, "elem.drop", 0, INDEX, NONE, NONE, NONE, 0) \
  X(14, table_copy, "table.copy", 0, INDEX2, NONE, NONE, NONE, 0) \
  X(15, table_grow, "table.grow", 0, INDEX, NONE, NONE, NONE, 0) \
  X(16, table_size, "table.size", 0, INDEX, NONE, NONE, NONE, 0) \
  X(17, table_fill, "table.fill", 0, INDEX, NONE, NONE, NONE, 0)

#endif
