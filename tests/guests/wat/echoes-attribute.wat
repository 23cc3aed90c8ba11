;; Asks for the user agent, and bans with its last attribute as the reason.
(data (i32.const 2048) "user-agent")
(func (export "portcullis:policy/plugin@0.1.0#configure") (param i32 i32) (result i32)
  (memory.fill (i32.const 600) (i32.const 0) (i32.const 24))
  (i32.store (i32.const 612) (i32.const 640))
  (i32.store (i32.const 616) (i32.const 1))
  (i32.store (i32.const 640) (i32.const 2048))
  (i32.store (i32.const 644) (i32.const 10))
  (i32.const 600))
(func (export "portcullis:policy/ban@0.1.0#judge") (param $attempt i32) (result i32)
  (local $last i32)
  (if (i32.eqz (i32.load offset=56 (local.get $attempt))) (then (return (call $pass))))
  (local.set $last
    (i32.add
      (i32.load offset=52 (local.get $attempt))
      (i32.mul (i32.const 16) (i32.sub (i32.load offset=56 (local.get $attempt)) (i32.const 1)))))
  (call $ban (i64.const 1000) (i32.load offset=8 (local.get $last)) (i32.load offset=12 (local.get $last))))
