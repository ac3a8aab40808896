;; SPDX-License-Identifier: Apache-2.0
;;
;; A start function that sleeps and sets a pin, _initialize that sets another, and run that checks both.
(module
  (import "env" "ocre_sleep" (func $sleep (param i32) (result i32)))
  (import "env" "ocre_gpio_pin_set" (func $set (param i32 i32 i32) (result i32)))
  (import "env" "ocre_gpio_pin_get" (func $get (param i32 i32) (result i32)))
  (import "env" "ocre_register_dispatcher" (func $dispatcher (param i32 i32) (result i32)))
  (memory 1)
  (func $early
    (drop (call $sleep (i32.const 1)))
    (drop (call $dispatcher (i32.const 0) (i32.const 0)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 1))))
  (start $early)
  (func (export "_initialize")
    (drop (call $set (i32.const 0) (i32.const 2) (i32.const 1))))
  (func (export "run") (result i32)
    (drop (call $sleep (i32.const 1)))
    (i32.eqz (i32.and (call $get (i32.const 0) (i32.const 1)) (call $get (i32.const 0) (i32.const 2))))))
