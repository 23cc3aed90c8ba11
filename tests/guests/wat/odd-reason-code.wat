;; Gives a reason whose code isn't one.
(data (i32.const 2048) "Not A Code")
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (drop (call $ban (i64.const 1000) (i32.const 64) (i32.const 10)))
  (i32.store (i32.const 1052) (i32.const 2048))
  (i32.store (i32.const 1056) (i32.const 10))
  (i32.const 1024))
