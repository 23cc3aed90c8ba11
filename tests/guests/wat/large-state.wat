;; Asks for a state of 1025 bytes to be kept.
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (drop (call $pass))
  (call $put (i32.const 2048) (i32.const 1025))
  (i32.const 1024))
