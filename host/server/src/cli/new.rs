//! `portcullis new`: a folder that holds a policy of one's own, which builds and
//! passes its tests as it stands.

mod folder;
mod name;
mod scaffold;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::scaffold::Scaffold;
use super::Failed;
use crate::config::printable;

#[derive(Args)]
#[command(after_help = "Exit codes: 0 done; 1 the folder can't be made; 2 usage.")]
pub(super) struct NewArgs {
    /// The policy's name: a-z, 0-9 and -, beginning with a letter
    #[arg(value_name = "NAME")]
    name: String,
    /// What it judges and orders
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Kind,
    /// What it is written in
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder to make, instead of NAME in the current one; it may be there if it is empty
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Login attempts: lets a client auth id wait
    Wait,
    /// Login attempts: bans a source
    Ban,
    /// Requests: bans a source
    Scanner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Small and fast, with the SDK and its test host
    Rust,
    /// By componentize-py: 18 MB, some 10 µs a call
    Python,
    /// By componentize-qjs: 2 MB, some 10 µs a call
    Javascript,
    /// By clang, without WASI: small and fast
    C,
}

pub(super) fn new(args: &NewArgs) -> Result<(), Failed> {
    name::check(&args.name).map_err(Failed::Usage)?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let scaffold = Scaffold::new(&args.name, args.kind, args.lang);
    folder::make(&folder, scaffold.files())?;
    let made = format!("Made {}. Next:\n", printable(&folder.display().to_string()));
    let enter = format!("  cd {}", quoted(&folder));
    let next = scaffold.next().into_iter().map(|command| format!("  {command}"));
    let rest = format!("\nREADME.md in it says the rest; the policy is in {}.\n", args.lang.policy());
    let lines: Vec<_> = [made, enter].into_iter().chain(next).chain([rest]).collect();
    // The folder is made, whether or not anyone reads on.
    super::print(&lines.join("\n"))
}

impl Language {
    /// The file that an author edits.
    fn policy(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Python => "policy.py",
            Self::Javascript => "policy.mjs",
            Self::C => "policy.c",
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c)) && !text.starts_with('-') {
        return text;
    }
    format!("'{}'", printable(&text).replace('\'', r"'\''"))
}
