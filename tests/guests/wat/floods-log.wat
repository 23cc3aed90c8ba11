;; Writes 5000 lines of 600 bytes about each attempt.
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (local $left i32)
  (memory.fill (i32.const 2048) (i32.const 97) (i32.const 600))
  (local.set $left (i32.const 5000))
  (loop $on
    (call $log (i32.const 2) (i32.const 2048) (i32.const 600))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $on (local.get $left)))
  (call $pass))
