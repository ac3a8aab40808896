// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"

	"github.com/go-git/go-git/v5/plumbing"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Cache keeps what earlier judgements found out about files, directories and modules: for each path the newest. One
// cache serves one repository; judgements with the same cache run one after another.
type Cache struct {
	mu      sync.Mutex
	files   map[string]cachedFile
	kusts   map[string]cachedKustomization
	dirs    map[string]*directory
	modules map[plumbing.Hash]*moduleResult
	apps    map[*judged]pinned
}

type cachedFile struct {
	hash plumbing.Hash
	unit *unit
}

type cachedKustomization struct {
	hash plumbing.Hash
	kust *kustomization
}

// pinned is an Application with its module's digest, and what is wrong with the two together.
type pinned struct {
	module   *Module
	object   *Object
	ram      int64 // bytes that a device needs for it
	findings []v1alpha1.Finding
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	c := &Cache{}
	c.reset()
	return c
}

func (c *Cache) reset() {
	c.files = map[string]cachedFile{}
	c.kusts = map[string]cachedKustomization{}
	c.dirs = map[string]*directory{}
	c.modules = map[plumbing.Hash]*moduleResult{}
	c.apps = map[*judged]pinned{}
}

// trim drops what the judgement that just ended did not use, when that is most of it: paths that are gone.
func (c *Cache) trim(usedFiles, usedModules, usedApps int) {
	const slack = 1024
	if len(c.files) > 2*usedFiles+slack || len(c.kusts) > 2*usedFiles+slack || len(c.dirs) > 2*usedFiles+slack {
		c.files = map[string]cachedFile{}
		c.kusts = map[string]cachedKustomization{}
		c.dirs = map[string]*directory{}
	}
	if len(c.modules) > 2*usedModules+slack {
		c.modules = map[plumbing.Hash]*moduleResult{}
	}
	if len(c.apps) > 2*usedApps+slack {
		c.apps = map[*judged]pinned{}
	}
}
