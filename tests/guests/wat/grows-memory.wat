;; Takes memory until there is no more, and falls over.
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (loop $on
    (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (unreachable))
