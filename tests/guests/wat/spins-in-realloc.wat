;; Never gives the host the room for a call's arguments.
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (call $spin)
  (unreachable))
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (call $pass))
