//! The credentials: RPort's JSON of id and password, or htpasswd with bcrypt or
//! argon2id, together with the clients of the command line.
//!
//! Read anew on every change; a file with any mistake is refused as a whole, so
//! that the caller keeps the old one. It must not know who asks, nor watch files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hint::black_box;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use portcullis_domain::Outcome;
use portcullis_domain::event::CLIENT_ID_BYTES_MAX;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::hash::{HashError, Stored};
use super::{Client, IdCase, ProcessKey};

/// Largest credentials file that is read.
pub const CREDENTIALS_BYTES_MAX: u64 = 64 << 20;
/// Most mistakes that are kept; the rest is counted.
const MISTAKES_MAX: usize = 50;

/// Who may log in with what secret.
pub struct Credentials {
    key: ProcessKey,
    id_case: IdCase,
    entries: HashMap<Box<str>, Stored>,
    /// The dearest secret there is: what an unknown id costs.
    dearest: Stored,
}

/// The end of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the secret was right.
    pub outcome: Outcome,
    /// Whether there is such an id.
    pub known: bool,
}

/// One mistake in a credentials file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileMistake {
    /// A line of htpasswd without a colon.
    #[error("no colon between id and hash")]
    NoColon,
    /// An id that no client could present.
    #[error("an id that is empty, too long or has control characters")]
    IdForm,
    /// A plain password that no client could present.
    #[error("a password that is empty or has control characters")]
    SecretForm,
    /// The hash isn't taken.
    #[error("{0}")]
    Hash(#[from] HashError),
    /// The id is there already.
    #[error("the same id as on line {first}{}", if *.folded { ", upper and lower case being the same here" } else { "" })]
    Doubled {
        /// Where it stands first; 0 for the command line.
        first: usize,
        /// The ids differ in letter case only.
        folded: bool,
    },
    /// The JSON isn't an object of texts.
    #[error("not a JSON object of ids and passwords: {0}")]
    Json(String),
}

/// All that is wrong with a credentials file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMistakes {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1, and what is wrong there; ids and secrets aren't repeated.
    pub list: Vec<(usize, FileMistake)>,
    /// Mistakes beyond those of the list.
    pub more: usize,
}

impl fmt::Display for FileMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, mistake)) in self.list.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}:{line}: {mistake}", self.path.display())?;
        }
        if self.more > 0 {
            write!(f, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

/// Why a credentials file isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is larger than [`CREDENTIALS_BYTES_MAX`].
    #[error("{}: larger than {CREDENTIALS_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It isn't UTF-8.
    #[error("{}: not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Wrong(FileMistakes),
}

/// What is taken, but worth telling the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileWarning {
    /// Every user of the machine can read it.
    #[error("every user of this machine can read the credentials file: chmod o-r it")]
    WorldReadable,
    /// Checks of some ids take less time than of others.
    #[error(
        "hashes of different cost: how long an answer takes tells which ids exist; set the passwords anew at one cost"
    )]
    MixedCosts,
    /// There is nobody in it.
    #[error("the credentials file is empty: nobody can log in")]
    Empty,
}

/// Credentials just read, and what is worth telling about them.
pub struct Loaded {
    /// The credentials.
    pub credentials: Credentials,
    /// In no order.
    pub warnings: Vec<FileWarning>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} ids)", self.entries.len())
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({:?}, {:?})", self.credentials, self.warnings)
    }
}

impl Credentials {
    /// Reads the file, if there is one, and adds the clients of the command line.
    ///
    /// # Errors
    /// [`FileError`], with every mistake in the file.
    pub fn load(
        path: Option<&Path>,
        clients: &[Client],
        id_case: IdCase,
        key: &ProcessKey,
    ) -> Result<Loaded, FileError> {
        let Some(path) = path else { return Self::parse("", Path::new("--client"), clients, id_case, key) };
        let (text, world_readable) = read_file(path)?;
        let mut loaded = Self::parse(&text, path, clients, id_case, key)?;
        if world_readable {
            loaded.warnings.push(FileWarning::WorldReadable);
        }
        if loaded.credentials.entries.is_empty() {
            loaded.warnings.push(FileWarning::Empty);
        }
        Ok(loaded)
    }

    /// Reads the text of the file called `path`.
    ///
    /// # Errors
    /// [`FileError::Wrong`], with every mistake.
    pub fn parse(
        text: &str,
        path: &Path,
        clients: &[Client],
        id_case: IdCase,
        key: &ProcessKey,
    ) -> Result<Loaded, FileError> {
        let mut book = Book { key, id_case, entries: HashMap::new(), mistakes: Vec::new(), more: 0 };
        for client in clients {
            book.add(0, &client.id, |key| Ok(Stored::plain(key, client.secret.expose())));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            book.add_json(text);
        } else {
            book.add_htpasswd(text);
        }
        if !book.mistakes.is_empty() {
            let mistakes = FileMistakes { path: path.to_owned(), list: book.mistakes, more: book.more };
            return Err(FileError::Wrong(mistakes));
        }
        let entries: HashMap<Box<str>, Stored> =
            book.entries.into_iter().map(|(id, entry)| (id.into(), entry.stored)).collect();
        let dearest = entries.values().max_by_key(|stored| stored.cost()).cloned();
        let dearest = dearest.unwrap_or_else(|| Stored::plain(key, b""));
        let hashed = entries.values().map(Stored::cost).filter(|&cost| cost > 0);
        let mixed = hashed.min().is_some_and(|least| least != dearest.cost());
        let warnings = if mixed { vec![FileWarning::MixedCosts] } else { Vec::new() };
        Ok(Loaded { credentials: Self { key: key.clone(), id_case, entries, dearest }, warnings })
    }

    /// Whether the same ids can log in with the same secrets: then whoever was
    /// verified by the one is by the other. For reloads, not for checks: it
    /// takes as long as it takes.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.id_case == other.id_case && self.entries == other.entries
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a check takes so long that it belongs on a [`super::HashPool`].
    #[must_use]
    pub fn is_dear(&self) -> bool {
        self.dearest.cost() > 0
    }

    /// Checks a secret. An unknown id and a plain secret cost as much as the
    /// dearest hash of the file, so that time doesn't tell who exists.
    #[must_use]
    pub fn check(&self, id: &str, secret: &[u8]) -> Checked {
        let stored = self.entries.get(&*self.id_case.apply(id));
        let right = match stored {
            Some(stored) => {
                if stored.cost() == 0 && self.is_dear() {
                    black_box(self.dearest.matches(&self.key, secret));
                }
                stored.matches(&self.key, secret)
            }
            None => {
                black_box(self.dearest.matches(&self.key, secret));
                false
            }
        };
        let outcome = if right { Outcome::Success } else { Outcome::Failure };
        Checked { outcome, known: stored.is_some() }
    }
}

fn read_file(path: &Path) -> Result<(String, bool), FileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let read = |error| FileError::Read { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(read)?;
    let world_readable = file.metadata().map_err(read)?.permissions().mode() & 0o004 != 0;
    let mut bytes = Vec::new();
    file.take(CREDENTIALS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > CREDENTIALS_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::NotUtf8 { path: path.to_owned() })?;
    Ok((text, world_readable))
}

/// The file while it is read.
struct Book<'k> {
    key: &'k ProcessKey,
    id_case: IdCase,
    entries: HashMap<String, BookEntry>,
    mistakes: Vec<(usize, FileMistake)>,
    more: usize,
}

struct BookEntry {
    line: usize,
    written: String,
    stored: Stored,
}

impl Book<'_> {
    fn mistake(&mut self, line: usize, mistake: FileMistake) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push((line, mistake));
        } else {
            self.more += 1;
        }
    }

    fn add(&mut self, line: usize, id: &str, stored: impl FnOnce(&ProcessKey) -> Result<Stored, FileMistake>) {
        let compared = self.id_case.apply(id).into_owned();
        if compared.is_empty() || compared.len() > CLIENT_ID_BYTES_MAX || id.chars().any(char::is_control) {
            return self.mistake(line, FileMistake::IdForm);
        }
        let stored = match stored(self.key) {
            Ok(stored) => stored,
            Err(mistake) => return self.mistake(line, mistake),
        };
        let doubled = match self.entries.entry(compared) {
            Entry::Vacant(vacant) => {
                vacant.insert(BookEntry { line, written: id.to_owned(), stored });
                return;
            }
            Entry::Occupied(there) => {
                FileMistake::Doubled { first: there.get().line, folded: there.get().written != id }
            }
        };
        self.mistake(line, doubled);
    }

    fn add_htpasswd(&mut self, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((id, hash)) => self.add(index + 1, id, |_| Ok(Stored::hash(hash)?)),
                None => self.mistake(index + 1, FileMistake::NoColon),
            }
        }
    }

    fn add_json(&mut self, text: &str) {
        let entries = match serde_json::from_str::<JsonEntries<'_>>(text) {
            Ok(entries) => entries.0,
            Err(error) => {
                let line = error.line();
                return self.mistake(line, FileMistake::Json(category(&error).to_owned()));
            }
        };
        let (mut line, mut upto) = (1, 0);
        for (id, raw) in entries {
            // The raw value is a slice of the text: its place is its address.
            let offset = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr()).min(text.len());
            line += text.as_bytes()[upto..offset].iter().filter(|&&byte| byte == b'\n').count();
            upto = offset;
            let Ok(secret) = serde_json::from_str::<String>(raw.get()) else {
                self.mistake(line, FileMistake::Json("a password has to be text".to_owned()));
                continue;
            };
            self.add(line, &id, |key| {
                // A hash taken for a password would be one that whoever saw the file could use.
                if Stored::looks_hashed(&secret) {
                    return Ok(Stored::hash(&secret)?);
                }
                if secret.is_empty() || secret.chars().any(char::is_control) {
                    return Err(FileMistake::SecretForm);
                }
                Ok(Stored::plain(key, secret.as_bytes()))
            });
        }
    }
}

/// What kind of error it is; its own text might repeat a secret.
fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "a syntax error",
        serde_json::error::Category::Data => "a value of another type",
        serde_json::error::Category::Eof => "it ends too early",
    }
}

/// Ids and raw values in the order of the file, doubled ones included.
struct JsonEntries<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for JsonEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = JsonEntries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of ids and passwords")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonEntries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(JsonEntries(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
