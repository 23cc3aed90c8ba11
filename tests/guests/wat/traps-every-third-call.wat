;; Falls over on each third call of an instance.
(global $calls (mut i32) (i32.const 0))
(func (export "portcullis:policy/ban@0.1.0#judge") (param i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 3))) (then (unreachable)))
  (call $pass))
