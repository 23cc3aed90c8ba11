//! Lines for debugging. The host counts, bounds and escapes them, and repeats
//! them when it repeats a call. Natively they go to standard error.

/// Of use while a policy is written.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is wrong, though the policy could go on.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

use crate::bindings::log::Level;

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
