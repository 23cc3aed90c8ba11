;; Bans for 2^63 ms and 200 bits after a failure, for no time and 0 bits after a success.
(func (export "portcullis:policy/ban@0.1.0#judge") (param $attempt i32) (result i32)
  (if (i32.load8_u offset=40 (local.get $attempt))
    (then
      (drop (call $ban (i64.const 0) (i32.const 64) (i32.const 10)))
      (i32.store8 (i32.const 1048) (i32.const 1)))
    (else
      (drop (call $ban (i64.const 0x8000000000000000) (i32.const 64) (i32.const 10)))
      (i32.store8 (i32.const 1048) (i32.const 1))
      (i32.store8 (i32.const 1049) (i32.const 200))))
  (i32.const 1024))
