// SPDX-License-Identifier: Apache-2.0
#define T float
#define SQRT __builtin_sqrtf
#include "nbody.h"
