;; Never gives the host the room for a call's arguments.
(func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
  (if (local.get $len) (then (call $spin)))
  (i32.const 8192))
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (call $pass))
