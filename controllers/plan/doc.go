// SPDX-License-Identifier: Apache-2.0

// Package plan says what a change of the fleet's repository will do to the fleet: two judged commits go in, a report
// comes out. It is pure: no cluster and no clock.
//
// # What is certain, and what git does not say
//
// Consequences are not estimated but played: package placement, which the controllers run, is given the fleet as the
// base commit leaves it and steps through the head commit until nothing is left to do. What it orders is the report.
// The fleet "as the base commit leaves it" is one in which every device that is on runs what the base commit asks for.
// Three things cannot be known from git, and the report keeps them apart instead of guessing:
//   - what a device holds that was off or quarantined in the base commit,
//   - how far a rollout had come that was suspended in the base commit: both are counted as MayGet,
//   - which gateway a device without spec.gateway is assigned to: only pinned devices are said to move.
//
// # Hostile input
//
// Texts of a commit enter the report through text, which drops control and formatting characters and bounds their
// length; each renderer escapes them once more for where they go. Of a Secret nothing enters the report but its name,
// its place and that it changed, not even a digest, from which a short value could be guessed.
package plan
