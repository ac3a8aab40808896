;; SPDX-License-Identifier: Apache-2.0
;; Imports a function for which it has no permission.
(module
  (import "gpio" "set" (func (param i32 i32)))
  (func (export "run") (call 0 (i32.const 1) (i32.const 1))))
