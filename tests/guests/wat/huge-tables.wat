;; Takes a table of 80 MB.
(table $table 1 funcref)
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (if (i32.eq (table.grow $table (ref.null func) (i32.const 10000000)) (i32.const -1)) (then (unreachable)))
  (call $pass))
