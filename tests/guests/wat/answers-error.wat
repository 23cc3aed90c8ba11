;; Says that it can't judge.
(data (i32.const 2048) "no idea")
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (drop (call $pass))
  (i32.store8 (i32.const 1024) (i32.const 1))
  (i32.store (i32.const 1032) (i32.const 2048))
  (i32.store (i32.const 1036) (i32.const 7))
  (i32.const 1024))
