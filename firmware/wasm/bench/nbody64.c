// SPDX-License-Identifier: Apache-2.0
#define T double
#define SQRT __builtin_sqrt
#include "nbody.h"
