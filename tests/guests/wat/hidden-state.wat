;; Counts in its own memory, and so isn't pure; bans at the third call.
(global $calls (mut i32) (i32.const 0))
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (if (i32.ge_u (global.get $calls) (i32.const 3))
    (then (return (call $ban (i64.const 60000) (i32.const 64) (i32.const 10)))))
  (call $pass))
