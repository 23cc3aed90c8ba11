//! The mistakes of a configuration, written out for a terminal and for the log.

use std::fmt;

use portcullis_harness::document::mistake::{
    Cause, DocumentError, MISTAKES_SHOWN_MAX, Mistake, Place, is_harmless, more,
};

/// What can be shown on a terminal: others' words can be anything, and neither
/// move the cursor nor begin a line that looks like ours, nor turn one around.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// All that is wrong with one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The name under which the file was given; empty without one.
    pub file: String,
    /// In the order of the file.
    pub list: Vec<Mistake>,
}

/// One line about a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Ours and the operator's words.
    pub ours: String,
    /// A plugin's words, which a text log has to encode (rule 28).
    pub plugins: Option<String>,
}

impl Mistakes {
    /// Line by line, a plugin's words apart from ours.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let line = |mistake: &Mistake| {
            let place = self.place(mistake);
            if let Cause::Plugin { why } = &mistake.cause {
                return Told { ours: place.trim_end_matches([':', ' ']).to_owned(), plugins: Some(why.clone()) };
            }
            Told { ours: format!("{place}{}", mistake.cause), plugins: None }
        };
        let more = more(&self.list).map(|ours| Told { ours, plugins: None });
        self.list.iter().take(MISTAKES_SHOWN_MAX).map(line).chain(more).collect()
    }

    /// File, line and key, each with a colon and a space behind it.
    fn place(&self, mistake: &Mistake) -> String {
        let place = match &mistake.place {
            Place::Line { line, column: Some(column) } => format!("{}:{line}:{column}: ", self.file),
            Place::Line { line, column: None } => format!("{}:{line}: ", self.file),
            Place::Option(option) => format!("{option}: "),
            Place::Nowhere if self.file.is_empty() => String::new(),
            Place::Nowhere => format!("{}: ", self.file),
        };
        if mistake.key.is_empty() { place } else { format!("{place}{}: ", mistake.key) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |cause: &Cause| if let Cause::Plugin { why } = cause { printable(why) } else { cause.to_string() };
        let line = |mistake: &Mistake| format!("{}{}", self.place(mistake), words(&mistake.cause));
        let lines: Vec<_> = self.list.iter().take(MISTAKES_SHOWN_MAX).map(line).chain(more(&self.list)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl AsRef<[Mistake]> for Mistakes {
    fn as_ref(&self) -> &[Mistake] {
        &self.list
    }
}

/// Why there is no configuration.
pub type ConfigError = DocumentError<Mistakes>;
