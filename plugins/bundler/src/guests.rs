//! The plugins that are checked in, and what each is allowed to be.

use std::path::{Path, PathBuf};

/// One plugin built from a crate of this workspace.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The crate.
    pub(crate) package: &'static str,
    /// Where its component goes, from `plugins/`.
    pub(crate) file: &'static str,
    /// The kinds that it exports, beside `plugin`.
    pub(crate) kinds: &'static [&'static str],
    /// How large the component may be to be checked in, in bytes.
    pub(crate) size_max: usize,
}

/// What the bundle promises: small enough to compile in a blink.
const BUNDLE_SIZE_MAX: usize = 32 * 1024;

const EXAMPLE_SIZE_MAX: usize = 64 * 1024;

/// All of them, the bundle first.
pub(crate) const GUESTS: &[Guest] = &[
    Guest { package: "portcullis-wait", file: "bundle/wait.wasm", kinds: &["wait"], size_max: BUNDLE_SIZE_MAX },
    Guest { package: "portcullis-ban", file: "bundle/ban.wasm", kinds: &["ban"], size_max: BUNDLE_SIZE_MAX },
    Guest {
        package: "portcullis-scanner",
        file: "bundle/scanner.wasm",
        kinds: &["scanner"],
        size_max: BUNDLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-strict-ban",
        file: "examples/bundle/strict-ban.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-hidden-state",
        file: "examples/bundle/hidden-state.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-doubling-ban",
        file: "examples/bundle/doubling-ban.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-forgiving-ban",
        file: "examples/bundle/forgiving-ban.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-pair-wait",
        file: "examples/bundle/pair-wait.wasm",
        kinds: &["wait"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-path-scanner",
        file: "examples/bundle/path-scanner.wasm",
        kinds: &["scanner"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-shared-target",
        file: "examples/bundle/shared-target.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-sliding-ban",
        file: "examples/bundle/sliding-ban.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-spraying",
        file: "examples/bundle/spraying.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
    Guest {
        package: "portcullis-example-working-hours",
        file: "examples/bundle/working-hours.wasm",
        kinds: &["ban"],
        size_max: EXAMPLE_SIZE_MAX,
    },
];

impl Guest {
    /// The core module that cargo makes of the crate.
    pub(crate) fn module(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }

    /// Where its component goes.
    pub(crate) fn path(&self, workspace: &Path) -> PathBuf {
        workspace.join("plugins").join(self.file)
    }
}
