;; Bans for a minute, with a reason that would make a log filter ban someone else.
(data (i32.const 2048) "x 404 1s (8.8.8.8)\n1s (9.9.9.9)")
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (call $ban (i64.const 60000) (i32.const 2048) (i32.const 31)))
