;; A component, and no policy.
(func (export "run"))
