//! The documents that are made from the code say what the code says.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::path::Path;

/// Set to have the documents written anew.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIG.md");
    let text = format!(
        "# Configuration\n\n\
         Made from the code; `{WRITE}=1 cargo test -p portcullis --test reference` writes it anew.\n\
         `portcullis.sample.toml` shows the keys in use. NAME is `wait`, `ban`, `scanner` or a name of your own \
         (`[a-z0-9-]{{1,32}}`). Relative paths start at the file's folder.\n\n{}",
        portcullis::config::reference()
    );
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, text, "CONFIG.md is out of date: run with {WRITE}=1");
}
