;; Falls over on paths that begin with "/poison", more exactly with any byte and a "p".
(func (export "portcullis:policy/scanner@0.1.0#judge") (param $request i32) (result i32)
  (if (i32.gt_u (i32.load offset=52 (local.get $request)) (i32.const 1))
    (then
      (if (i32.eq (i32.load8_u offset=1 (i32.load offset=48 (local.get $request))) (i32.const 112))
        (then (unreachable)))))
  (call $pass))
