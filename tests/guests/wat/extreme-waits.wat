;; A wait of 2^63 ms after a failure, of no time after a success.
(func (export "portcullis:policy/wait@0.1.0#judge") (param $attempt i32) (result i32)
  (if (i32.load8_u offset=40 (local.get $attempt))
    (then (return (call $wait (i64.const 0) (i32.const 64) (i32.const 10)))))
  (call $wait (i64.const 0x8000000000000000) (i32.const 64) (i32.const 10)))
