;; Gives a reason that isn't UTF-8.
(data (i32.const 2048) "\ff\fe")
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (call $ban (i64.const 1000) (i32.const 2048) (i32.const 2)))
