// SPDX-License-Identifier: Apache-2.0

package fleet

import "sync"

// Cache keeps what earlier judgements found out about files, directories and modules. One cache serves one
// repository; judgements with the same cache run one after another. What the last two judgements did not use is
// dropped.
type Cache struct {
	mu sync.Mutex
}

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{} }
