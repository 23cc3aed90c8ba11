//! The default plugins, built into the program so that nobody needs a
//! WebAssembly toolchain to run it.

use portcullis_domain::Kind;

/// The component that judges as `kind` unless the operator says otherwise.
pub(super) const fn component(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Wait => include_bytes!("../../../../plugins/bundle/wait.wasm"),
        Kind::Ban => include_bytes!("../../../../plugins/bundle/ban.wasm"),
        Kind::Scanner => include_bytes!("../../../../plugins/bundle/scanner.wasm"),
    }
}
