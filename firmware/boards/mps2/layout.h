// SPDX-License-Identifier: Apache-2.0
//
// Sizes shared by the linker script and the code of the MPS2 boards: macros only.
#ifndef LAYOUT_H
#define LAYOUT_H

// The main stack. A power of two, because it is one MPU region.
#define LAYOUT_STACK_SIZE 0x2000

// App memory: a power of two; four MPU regions with eight subregions each cut it into
// 32 blocks.
#define LAYOUT_ARENA_SIZE 0x40000
#define LAYOUT_ARENA_BLOCKS 32

#endif
