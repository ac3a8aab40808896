;; SPDX-License-Identifier: Apache-2.0
;; A well-behaved app: waits twice and adds up what it is told.
(module
  (import "timer" "sleep" (func $sleep (param i32) (result i32)))
  (func (export "run") (param $n i32) (result i32)
    (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $sleep (local.get $n))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
