;; SPDX-License-Identifier: Apache-2.0
;;
;; A blinking light: LED 0 changes every half second. The module has no linear memory at all, so a board spends
;; nothing but a little stack on it.
(module
  (import "env" "ocre_timer_create" (func $timer_create (param i32) (result i32)))
  (import "env" "ocre_timer_start" (func $timer_start (param i32 i32 i32) (result i32)))
  (import "env" "ocre_gpio_configure" (func $configure (param i32 i32 i32) (result i32)))
  (import "env" "ocre_gpio_pin_toggle" (func $toggle (param i32 i32) (result i32)))

  ;; The device calls run once. A result other than 0 means that the app failed.
  (func (export "run") (result i32)
    (i32.or
      (i32.or
        (call $configure (i32.const 0) (i32.const 0) (i32.const 1)) ;; port 0, pin 0: output
        (call $timer_create (i32.const 1)))
      (call $timer_start (i32.const 1) (i32.const 500) (i32.const 1)))) ;; every 500 ms, again and again

  ;; A timer runs, so the app stays alive after run has returned, and the device calls this when it fires.
  (func (export "timer_callback") (param $id i32)
    (drop (call $toggle (i32.const 0) (i32.const 0)))))
