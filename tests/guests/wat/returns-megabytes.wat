;; Hands over 4 MiB: as a reason after a failure, as a state after a success.
(func (export "portcullis:policy/ban@0.1.0#judge") (param $attempt i32) (result i32)
  (local $success i32)
  (local.set $success (i32.load8_u offset=40 (local.get $attempt)))
  (drop (memory.grow (i32.const 64)))
  (if (local.get $success)
    (then
      (drop (call $pass))
      (call $put (i32.const 2048) (i32.const 4194304)))
    (else
      (drop (call $ban (i64.const 1000) (i32.const 2048) (i32.const 4194304)))))
  (i32.const 1024))
