use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::ValueEnum as _;

use super::scaffold::{File, Scaffold};
use super::*;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn all() -> impl Iterator<Item = (Kind, Language, Scaffold)> {
    let pairs = Kind::value_variants()
        .iter()
        .flat_map(|kind| Language::value_variants().iter().map(move |language| (*kind, *language)));
    pairs.map(|(kind, language)| (kind, language, Scaffold::new("my-own", kind, language)))
}

fn text(file: &File) -> String {
    String::from_utf8_lossy(&file.bytes).into_owned()
}

fn of<'files>(scaffold: &'files Scaffold, path: &str) -> &'files File {
    scaffold.files().iter().find(|file| file.path == path).unwrap()
}

fn below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        } else {
            found.push(path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn no_placeholder_is_left_and_the_name_is_in_it() {
    for (kind, language, scaffold) in all() {
        let mut named = 0;
        for file in scaffold.files() {
            let text = text(file);
            let is_placeholder = |rest: &str| {
                rest.split_once("}}")
                    .is_some_and(|(word, _)| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
            };
            let left = text.split("{{").skip(1).find(|rest| is_placeholder(rest));
            assert_eq!(left, None, "{kind:?} {language:?} {}", file.path);
            named += usize::from(text.contains("my-own"));
        }
        assert!(named >= 2, "{kind:?} {language:?}");
    }
}

#[test]
fn every_file_is_there_once_and_the_readme_says_what_it_is() {
    for (kind, language, scaffold) in all() {
        let paths: BTreeSet<&str> = scaffold.files().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), scaffold.files().len(), "{kind:?} {language:?}");
        let readme = text(of(&scaffold, "README.md"));
        let (_, listed) = readme.split_once("## Files").unwrap();
        for path in paths.iter().filter(|path| !["README.md", ".gitignore"].contains(path)) {
            let mut folders = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
            let is_listed = listed.contains(&format!("`{path}`"))
                || folders.any(|folder| !folder.is_empty() && listed.contains(&format!("`{folder}/`")));
            assert!(is_listed, "{kind:?} {language:?}: nothing about {path}");
        }
        assert!(paths.iter().filter(|path| path.starts_with("scenarios/")).count() >= 2);
    }
}

#[test]
fn every_template_and_every_file_of_the_sdk_is_taken() {
    let taken: BTreeSet<Vec<u8>> = all()
        .flat_map(|(_, _, scaffold)| scaffold.files().iter().map(|file| file.bytes.to_vec()).collect::<Vec<_>>())
        .collect();
    let mut sources = Vec::new();
    for folder in ["plugins/templates", "plugins/sdk/src", "plugins/sdk/macros/src"] {
        below(&repository().join(folder), &mut sources);
    }
    assert!(sources.len() > 50, "{sources:?}");
    let parts = |path: &str| {
        path.ends_with("/about.md") || path.ends_with("templates/use.md") || path.ends_with("templates/README.md")
    };
    for source in sources.iter().filter(|path| !parts(path)) {
        let bytes = fs::read(repository().join(source)).unwrap();
        let is_template = bytes.windows(2).any(|two| two == b"{{");
        let filled =
            |kind: Kind| super::scaffold::filled(&String::from_utf8_lossy(&bytes), "my-own", kind).into_bytes();
        let found = taken.contains(&bytes)
            || (is_template && Kind::value_variants().iter().any(|kind| taken.contains(&filled(*kind))));
        assert!(found, "{source} is in no folder");
    }
}

#[test]
fn the_vendored_sdk_depends_on_what_the_sdk_depends_on() {
    let parse = |text: &str| text.parse::<toml::Table>().unwrap();
    let workspace = parse(&fs::read_to_string(repository().join("Cargo.toml")).unwrap());
    let locked = parse(&fs::read_to_string(repository().join("Cargo.lock")).unwrap());
    let locked: Vec<(String, String)> = locked["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package["version"].as_str().unwrap().to_owned()))
        .collect();
    let scaffold = Scaffold::new("my-own", Kind::Ban, Language::Rust);
    for (own, vendored) in [
        ("plugins/sdk/Cargo.toml", "sdk/portcullis-sdk/Cargo.toml"),
        ("plugins/sdk/macros/Cargo.toml", "sdk/portcullis-sdk/macros/Cargo.toml"),
    ] {
        let own = parse(&fs::read_to_string(repository().join(own)).unwrap());
        let vendored = parse(&text(of(&scaffold, vendored)));
        assert_eq!(own.get("features"), vendored.get("features"));
        assert_eq!(own.get("lib"), vendored.get("lib"));
        for key in ["version", "edition", "rust-version", "license"] {
            assert_eq!(vendored["package"][key], workspace["workspace"]["package"][key], "{key}");
        }
        let (own, vendored) = (own["dependencies"].as_table().unwrap(), vendored["dependencies"].as_table().unwrap());
        assert!(own.keys().eq(vendored.keys()), "{own:?} and {vendored:?}");
        for (name, dependency) in vendored {
            if dependency.get("path").is_some() {
                continue;
            }
            let own = &own[name];
            let own = if own.get("workspace").is_some() { &workspace["workspace"]["dependencies"][name] } else { own };
            let pinned = dependency
                .get("version")
                .or(Some(dependency))
                .and_then(toml::Value::as_str)
                .and_then(|version| version.strip_prefix('='));
            let Some(pinned) = pinned else {
                assert_eq!(own, dependency, "{name}");
                continue;
            };
            // What generates code is taken at the very version that the program was tested with.
            assert!(locked.contains(&(name.clone(), pinned.to_owned())), "{name} {pinned} isn't in Cargo.lock");
            assert_eq!(own["features"], dependency["features"], "{name}");
        }
    }
}

#[test]
fn the_tools_are_those_that_are_tested() {
    let pinned: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(repository().join("tests/languages/package.json")).unwrap()).unwrap();
    let scaffold = Scaffold::new("my-own", Kind::Ban, Language::Javascript);
    let own: serde_json::Value = serde_json::from_str(&text(of(&scaffold, "package.json"))).unwrap();
    assert_eq!(own["devDependencies"], pinned["dependencies"]);
    let tested = fs::read_to_string(repository().join("tests/languages/build")).unwrap();
    let readme = text(of(&Scaffold::new("my-own", Kind::Ban, Language::C), "README.md"));
    for part in
        ["clang-19 --target=wasm32-wasi", "-Wl,--no-entry,--strip-all,-z,stack-size=65536", "-mexec-model=reactor"]
    {
        assert!(tested.contains(part) && readme.contains(part), "{part}");
    }
}

#[test]
fn what_comes_next_is_what_the_readme_says() {
    let scaffold = Scaffold::new("my-own", Kind::Wait, Language::Rust);
    assert_eq!(
        scaffold.next(),
        [
            "rustup target add wasm32-unknown-unknown",
            "cargo build --release --target wasm32-unknown-unknown",
            "portcullis component target/wasm32-unknown-unknown/release/policy.wasm -o my-own.wasm",
            "portcullis test my-own.wasm",
        ]
    );
    for (kind, language, scaffold) in all() {
        let next = scaffold.next();
        assert!(next.len() >= 3, "{kind:?} {language:?}: {next:?}");
        assert_eq!(next.last(), Some(&"portcullis test my-own.wasm"));
    }
}

#[test]
fn a_name_says_what_would_be_right() {
    for good in ["a", "my-own", "x9", "a-", &"a".repeat(64)] {
        assert_eq!(name::check(good), Ok(()), "{good}");
    }
    for (wrong, near) in [
        ("My_Own", "such as my-own"),
        ("9-lives", "such as lives"),
        ("büro", "such as b-ro"),
        ("-x", "such as x"),
        ("", "such as office-hours"),
        ("../..", "such as office-hours"),
        ("a/b", "such as a-b"),
        (&"a".repeat(65), "at most 64"),
        ("portcullis-sdk", "depends on"),
    ] {
        let why = name::check(wrong).unwrap_err();
        assert!(why.contains(near), "{why}");
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let file = |path: &str| File { path: path.to_owned(), bytes: b"text".as_slice().into() };
    let files = [file("a/b.txt"), file("c.txt")];

    folder::make(&at("new"), &files).unwrap();
    assert_eq!(fs::read(at("new/a/b.txt")).unwrap(), b"text");
    let again = folder::make(&at("new"), &files).unwrap_err();
    assert!(again.to_string().contains("isn't empty"), "{again}");

    fs::create_dir(at("empty")).unwrap();
    folder::make(&at("empty"), &files).unwrap();
    assert!(at("empty/c.txt").exists());

    fs::write(at("file"), "").unwrap();
    assert!(folder::make(&at("file"), &files).is_err());
    assert!(folder::make(&at("file/new"), &files).is_err());
    assert!(folder::make(&at("nowhere/new"), &files).unwrap_err().to_string().contains("no folder"));
    assert!(folder::make(Path::new("/"), &files).is_err());

    // A file where a folder has to be: what was begun goes away.
    assert!(folder::make(&at("broken"), &[file("x"), file("x/y")]).is_err());
    assert_eq!(names(), ["empty", "file", "new"]);
}

#[test]
fn a_path_is_quoted_for_a_shell() {
    assert_eq!(quoted(Path::new("../my-own")), "../my-own");
    assert_eq!(quoted(Path::new("my own")), "'my own'");
    assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
}
