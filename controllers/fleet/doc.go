// SPDX-License-Identifier: Apache-2.0

// Package fleet judges a commit: a tree of files goes in; objects, modules and findings come out. It is pure: no
// cluster and no clock, so that the sync controller, `wasmbed validate` and a review of a pull request say the same
// of the same commit.
//
// # How a tree becomes objects
//
// The root kustomization is read from the tree. A kustomization that holds nothing but resources is split into its
// entries: files are parsed here, with the line and column of every field; directories are looked at in the same
// way. Any other kustomization (patches, labels, generators, components …) is a part that kustomize builds whole, of
// at most MaxPartObjects objects, because the time of such a build grows with their square. What kustomize sees is
// an in-memory copy of just the files that the kustomization names, with rewritten kustomization files, so that it
// can neither leave the tree nor reach a network, a plugin or a command.
//
// A module is judged by the firmware's own runtime (devices/wasmcheck).
//
// Each object is judged by itself: is the kind accepted, do metadata, schema and CEL rules hold, as the API server
// would say (the same code). Then all together: duplicates, keys, references, selectors, modules and memory.
//
// # Work follows change
//
// A Cache keeps what was found out about a file (by its path and git hash), a directory (by its tree hash) and a
// module (by its git hash) with the findings. A judgement with the cache of an earlier one parses and checks only
// files that changed; what relates objects to each other is done anew each time and costs microseconds an object.
// README.md has the figures.
//
// # Hostile input
//
// Everything is bounded before it is allocated (the Max constants). Symbolic links are followed inside the tree
// only. Findings quote what a commit says, so they are shortened and stripped of control characters, and never quote
// a Secret's values.
package fleet
