//! The wire types of `wit/policy.wit`: the macro, and nothing else.
//!
//! Made for the world that exports everything; each kind's interface is looked
//! up by itself, so a plugin may export any of them. Wire types stay inside
//! `convert`, `settings`, `instance` and `load`.

#![allow(missing_docs, unreachable_pub, unused_variables, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "bundle-policy",
    ownership: Borrowing { duplicate_if_necessary: true },
});
