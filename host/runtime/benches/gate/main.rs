//! The gate's path by itself, without a network: what an event costs, and of
//! that what is the call into the guest.
//!
//! `cargo bench -p portcullis-runtime --bench gate [-- --quick]` takes the time,
//! with 1 thousand to 10 million tracked sources, on one core and on two.
//!
//! `cargo bench -p portcullis-runtime --profile count --bench gate -- --instructions [--renew]`
//! counts instructions under callgrind, which come out the same on any machine
//! of the same kind, and fails where they are more than 5 % off
//! `instructions.tsv`; with `--renew` that file is written anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]
#![allow(clippy::cast_precision_loss, reason = "a measurement")]

mod bare;
mod cases;
mod instructions;
mod timing;
mod world;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| args.iter().any(|arg| arg == option);
    if let Some(at) = args.iter().position(|arg| arg == cases::OPTION) {
        cases::count(&args[at + 1]);
    } else if has("--instructions") {
        instructions::compare(has("--renew"));
    } else {
        timing::print(has("--quick"));
    }
}
