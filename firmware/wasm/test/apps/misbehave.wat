;; SPDX-License-Identifier: Apache-2.0
;; Everything that an app must not be able to do to its host.
(module
  (memory (export "memory") 1)
  (global $state (mut i32) (i32.const 5))
  (func $loop (export "loop") (loop $again (br $again)))
  (func $recurse (export "recurse") (call $recurse))
  (func $grow (export "grow") (result i32)
    (local $pages i32)
    (block $refused
      (loop $more
        (br_if $refused (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (local.set $pages (i32.add (local.get $pages) (i32.const 1)))
        (br $more)))
    (local.get $pages))
  (func $poke (export "poke") (param i32) (i32.store (local.get 0) (i32.const 42)))
  (func $fill (export "fill") (result i32)
    (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 1000))
    (global.set $state (i32.const 77))
    (i32.load (i32.const 996)))
  (func $state (export "state") (result i32) (i32.add (global.get $state) (i32.load (i32.const 0)))))
