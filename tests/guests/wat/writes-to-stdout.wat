;; Writes to the standard output after a failure.
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32)))
(func (export "portcullis:policy/ban@0.1.0#judge") (param $attempt i32) (result i32)
  (if (i32.eqz (i32.load8_u offset=40 (local.get $attempt)))
    (then (call $write (call $stdout) (i32.const 16) (i32.const 7))))
  (call $pass))
