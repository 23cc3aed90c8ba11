//! What is in the folder: templates of `plugins/templates`, and files of the repository as
//! they are: the SDK, what other languages use instead of it, and the interface.

use std::borrow::Cow;

use include_dir::{Dir, include_dir};

use super::{Kind, Language};

/// One file of the folder.
#[derive(Debug)]
pub(super) struct File {
    /// From the folder, with slashes.
    pub(super) path: String,
    pub(super) bytes: Cow<'static, [u8]>,
}

/// Whether names are put into it.
#[derive(Clone, Copy)]
enum Source {
    /// Written as it is.
    Verbatim(&'static [u8]),
    /// Written with [`Values`] in the place of `{{…}}`.
    Template(&'static str),
}

/// Paths are from the repository.
macro_rules! verbatim {
    ($path:expr) => {
        Source::Verbatim(include_bytes!(concat!("../../../../../", $path)))
    };
}

/// Paths are from `plugins/templates`.
macro_rules! template {
    ($path:expr) => {
        Source::Template(include_str!(concat!("../../../../../plugins/templates/", $path)))
    };
}

/// What is the same in every folder.
const COMMON: &[(&str, Source)] = &[("wit/policy.wit", verbatim!("wit/policy.wit"))];

/// What a policy in Rust is written with; folders, so that none of their files can be forgotten.
static SDK: &[(&str, Dir<'_>)] = &[
    ("sdk/portcullis-sdk/src", include_dir!("$CARGO_MANIFEST_DIR/../../plugins/sdk/src")),
    ("sdk/portcullis-sdk/macros/src", include_dir!("$CARGO_MANIFEST_DIR/../../plugins/sdk/macros/src")),
];

const RUST: &[(&str, Source)] = &[
    ("README.md", template!("rust/README.md")),
    (".gitignore", template!("rust/gitignore")),
    (".cargo/config.toml", template!("rust/config.toml")),
    ("Cargo.toml", template!("rust/Cargo.toml.in")),
    // The SDK's style, so that `cargo fmt` leaves it as it is.
    ("rustfmt.toml", verbatim!("rustfmt.toml")),
    // So deep that the SDK finds wit/ where it looks for it.
    ("sdk/portcullis-sdk/Cargo.toml", template!("rust/sdk/Cargo.toml.in")),
    ("sdk/portcullis-sdk/macros/Cargo.toml", template!("rust/sdk/macros/Cargo.toml.in")),
];

const PYTHON: &[(&str, Source)] = &[
    ("README.md", template!("python/README.md")),
    (".gitignore", template!("python/gitignore")),
    ("portcullis.py", verbatim!("plugins/examples/languages/python/portcullis.py")),
    ("portcullis_testing.py", template!("python/portcullis_testing.py")),
    ("requirements.txt", verbatim!("tests/languages/requirements.txt")),
];

const JAVASCRIPT: &[(&str, Source)] = &[
    ("README.md", template!("javascript/README.md")),
    (".gitignore", template!("javascript/gitignore")),
    ("package.json", template!("javascript/package.json")),
    ("portcullis.mjs", verbatim!("plugins/examples/languages/javascript/portcullis.mjs")),
    ("portcullis-testing.mjs", template!("javascript/portcullis-testing.mjs")),
];

const C: &[(&str, Source)] = &[
    ("README.md", template!("c/README.md")),
    (".gitignore", template!("c/gitignore")),
    ("portcullis.h", verbatim!("plugins/examples/languages/c/portcullis.h")),
];

/// Made ahead, so that an author in C needs no generator.
macro_rules! bindings {
    ($kind:literal, $file:literal) => {
        (concat!("bindings/", $kind, $file), verbatim!(concat!("plugins/templates/c/bindings/", $kind, $file)))
    };
}

macro_rules! of_kind {
    ($kind:literal, $($scenario:literal)*) => {
        Own {
            name: $kind,
            about: include_str!(concat!("../../../../../plugins/templates/kinds/", $kind, "/about.md")),
            scenarios: &[$((
                concat!("scenarios/", $scenario),
                template!(concat!("kinds/", $kind, "/scenarios/", $scenario)),
            ),)*],
            rust: &[
                ("src/lib.rs", template!(concat!("rust/", $kind, "/lib.rs"))),
                ("src/tests.rs", template!(concat!("rust/", $kind, "/tests.rs"))),
            ],
            python: &[
                ("policy.py", template!(concat!("python/", $kind, "/policy.py"))),
                ("test_policy.py", template!(concat!("python/", $kind, "/test_policy.py"))),
            ],
            javascript: &[
                ("policy.mjs", template!(concat!("javascript/", $kind, "/policy.mjs"))),
                ("policy.test.mjs", template!(concat!("javascript/", $kind, "/policy.test.mjs"))),
            ],
            c: &[
                ("policy.c", template!(concat!("c/", $kind, "/policy.c"))),
                bindings!($kind, "_policy.h"),
                bindings!($kind, "_policy.c"),
                bindings!($kind, "_policy_component_type.o"),
            ],
        }
    };
}

/// What differs from kind to kind.
struct Own {
    name: &'static str,
    /// For the README.
    about: &'static str,
    /// The same policy in every language comes to the same.
    scenarios: &'static [(&'static str, Source)],
    rust: &'static [(&'static str, Source)],
    python: &'static [(&'static str, Source)],
    javascript: &'static [(&'static str, Source)],
    c: &'static [(&'static str, Source)],
}

const WAIT: Own = of_kind!("wait", "forgets.toml" "grows.toml");
const BAN: Own = of_kind!("ban", "bans.toml" "forgets.toml");
const SCANNER: Own = of_kind!("scanner", "bans.toml" "window.toml");

/// How a policy is tried out and served, whatever it is written in.
const USE: &str = include_str!("../../../../../plugins/templates/use.md");

impl Kind {
    fn own(self) -> &'static Own {
        match self {
            Self::Wait => &WAIT,
            Self::Ban => &BAN,
            Self::Scanner => &SCANNER,
        }
    }

    /// What the policy is for: it stands in comments and in texts of every language.
    fn doc(self) -> &'static str {
        match self {
            Self::Wait => "Makes a client auth id wait after each failed login, twice as long each time.",
            Self::Ban => "Bans a source after too many failed logins in a row.",
            Self::Scanner => "Bans a source that draws too many answers of certain statuses within a time.",
        }
    }

    /// A setting that an operator might change.
    fn setting(self) -> &'static str {
        match self {
            Self::Wait => "first_wait = 2",
            Self::Ban => "max_failed_login = 3",
            Self::Scanner => "max_hits = 3",
        }
    }
}

impl Kind {
    /// Options of `portcullis serve` with which one can see it at work.
    fn serve(self) -> &'static str {
        match self {
            Self::Wait | Self::Ban => "--client alice:wonderland",
            Self::Scanner => "--upstream http://127.0.0.1:3000",
        }
    }

    /// What one has to know about that.
    fn serve_note(self) -> &'static str {
        match self {
            Self::Wait | Self::Ban => {
                "`curl -u alice:wrong http://127.0.0.1:8080/` is a failed login. A ban hits 127.0.0.1, your own \
                 address, until it ends or the server is started anew."
            }
            Self::Scanner => {
                "In front of your own service, here on port 3000: what that answers is judged. With `--client` instead, \
                 strangers would be answered 401 before there could be a 404, and requests with the right password are \
                 no hits. A ban hits 127.0.0.1, your own address, until it ends or the server is started anew."
            }
        }
    }
}

/// The folder's content.
#[derive(Debug)]
pub(super) struct Scaffold {
    files: Vec<File>,
}

impl Scaffold {
    pub(super) fn new(name: &str, kind: Kind, language: Language) -> Self {
        let own = kind.own();
        let (shared, of_kind) = match language {
            Language::Rust => (RUST, own.rust),
            Language::Python => (PYTHON, own.python),
            Language::Javascript => (JAVASCRIPT, own.javascript),
            Language::C => (C, own.c),
        };
        let sources = [COMMON, shared, of_kind, own.scenarios].concat();
        let files = sources.into_iter().map(|(path, source)| {
            let bytes = match source {
                Source::Verbatim(bytes) => Cow::Borrowed(bytes),
                Source::Template(text) => Cow::Owned(filled(text, name, kind).into_bytes()),
            };
            File { path: path.to_owned(), bytes }
        });
        let mut files: Vec<_> = files.collect();
        if language == Language::Rust {
            for (path, folder) in SDK {
                add_folder(&mut files, path, folder);
            }
        }
        Self { files }
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// What to run in the folder first: as the README says it, so that it is said once.
    pub(super) fn next(&self) -> Vec<&str> {
        let readme = self.files.iter().find(|file| file.path == "README.md");
        let readme = readme.and_then(|file| std::str::from_utf8(&file.bytes).ok()).unwrap_or_default();
        let mut lines: Vec<_> =
            ["## Set up\n", "## Build\n"].into_iter().flat_map(|head| block(readme, head)).collect();
        lines.extend(block(readme, "## Test\n").filter(|line| line.starts_with("portcullis ")));
        lines
    }
}

/// With the folders in it; their paths are from the one that was included.
fn add_folder(files: &mut Vec<File>, path: &str, folder: &'static Dir<'_>) {
    for file in folder.files() {
        let path = format!("{path}/{}", file.path().display());
        files.push(File { path, bytes: Cow::Borrowed(file.contents()) });
    }
    for inner in folder.dirs() {
        add_folder(files, path, inner);
    }
}

/// The lines of the first shell block below a heading.
fn block<'text>(readme: &'text str, heading: &str) -> impl Iterator<Item = &'text str> {
    let section = readme.split_once(heading).map_or("", |(_, rest)| rest);
    let block = section.split_once("```sh\n").map_or("", |(_, rest)| rest);
    block.split_once("```").map_or("", |(block, _)| block).lines()
}

pub(super) fn filled(template: &str, name: &str, kind: Kind) -> String {
    // Parts first: there are names in them, too.
    let text = template.replace("{{about}}", kind.own().about.trim_end()).replace("{{use}}", USE.trim_end());
    let values = [
        ("{{name}}", name),
        ("{{kind}}", kind.own().name),
        ("{{doc}}", kind.doc()),
        ("{{setting}}", kind.setting()),
        ("{{serve}}", kind.serve()),
        ("{{serve-note}}", kind.serve_note()),
        ("{{version}}", env!("CARGO_PKG_VERSION")),
    ];
    values.into_iter().fold(text, |text, (placeholder, value)| text.replace(placeholder, value))
}
