//! The default plugins, as they are checked in. Bytes and nothing else.

use portcullis_domain::Kind;

/// What a default plugin goes by instead of a file's name.
pub(crate) const ORIGIN: &str = "bundle";

/// The component of the default plugin of that kind.
pub(crate) fn component(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Wait => include_bytes!("../../../plugins/bundle/wait.wasm"),
        Kind::Ban => include_bytes!("../../../plugins/bundle/ban.wasm"),
        Kind::Scanner => include_bytes!("../../../plugins/bundle/scanner.wasm"),
    }
}
