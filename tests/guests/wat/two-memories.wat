;; Takes 38 MiB in each of two memories.
(memory $second 1)
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (if (i32.eq (memory.grow $memory (i32.const 600)) (i32.const -1)) (then (unreachable)))
  (if (i32.eq (memory.grow $second (i32.const 600)) (i32.const -1)) (then (unreachable)))
  (call $pass))
