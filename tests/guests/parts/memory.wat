;; What every fixture has: a memory, the answer's place in it, and ways to fill
;; that in. Addresses, all below 8192, where the bump allocator begins:
;;   16 "fixture" (name and reason code), 32 "1.0.0", 48 "fixture/1", 64 "A fixture."
;;   512 the description, 600 the answer of configure, 1024 the answer of judge
;;   2048 to 8191 the fixture's own
;;
;; judge gets a pointer to its arguments, an attempt or a request and then the state:
;;   attempt  0 at, 8 source, 28 id (32 ptr, 36 len), 40 outcome (1: success),
;;            52 attributes (ptr, len), 64 state (68 ptr, 72 len)
;;   request  0 at, 8 source, 28 id, 40 method, 48 path (ptr, len), 56 status,
;;            60 attributes, 72 state (76 ptr, 80 len)
;; and answers with a pointer to result<judgement, string>:
;;   ban      0 error, 8 verdict, 16 duration, 24 prefix, 28 code, 36 text,
;;            48 keep (56 ptr, 60 len), 64 ttl, 72 its milliseconds
;;   wait     0 error, 8 verdict, 16 duration, 24 code, 32 text, 40 keep
(memory $memory (export "memory") 4)
(data (i32.const 16) "fixture")
(data (i32.const 32) "1.0.0")
(data (i32.const 48) "fixture/1")
(data (i32.const 64) "A fixture.")
(global $bump (mut i32) (i32.const 8192))

;; The arguments of a call have been read when it answers.
(func $pass (result i32)
  (global.set $bump (i32.const 8192))
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 96))
  (i32.const 1024))

(func $ban (param $ms i64) (param $text i32) (param $len i32) (result i32)
  (drop (call $pass))
  (i32.store8 (i32.const 1032) (i32.const 1))
  (i64.store (i32.const 1040) (local.get $ms))
  (i32.store (i32.const 1052) (i32.const 16))
  (i32.store (i32.const 1056) (i32.const 7))
  (i32.store (i32.const 1060) (local.get $text))
  (i32.store (i32.const 1064) (local.get $len))
  (i32.const 1024))

(func $wait (param $ms i64) (param $text i32) (param $len i32) (result i32)
  (drop (call $pass))
  (i32.store8 (i32.const 1032) (i32.const 1))
  (i64.store (i32.const 1040) (local.get $ms))
  (i32.store (i32.const 1048) (i32.const 16))
  (i32.store (i32.const 1052) (i32.const 7))
  (i32.store (i32.const 1056) (local.get $text))
  (i32.store (i32.const 1060) (local.get $len))
  (i32.const 1024))

;; Of a ban's or a scanner's answer: keeps these bytes until room is needed.
(func $put (param $data i32) (param $len i32)
  (i32.store8 (i32.const 1072) (i32.const 2))
  (i32.store (i32.const 1080) (local.get $data))
  (i32.store (i32.const 1084) (local.get $len)))

(func $forget
  (i32.store8 (i32.const 1072) (i32.const 1)))

(func $spin
  (loop $on (br $on)))
