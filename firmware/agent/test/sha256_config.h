// SPDX-License-Identifier: Apache-2.0
//
// mbedTLS for tests on the host that need SHA-256 and nothing else.
#define MBEDTLS_SHA256_C
