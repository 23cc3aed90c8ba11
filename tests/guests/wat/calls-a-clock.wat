;; Asks a clock for the time.
(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (drop (call $now))
  (call $pass))
