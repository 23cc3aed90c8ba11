//! `portcullis new`: each folder builds, passes its tests and is served by what its own
//! README says, outside of this repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use portcullis_tests::{Portcullis, Ran, Server, portcullis, repository, run};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// What a language's toolchain takes is missing, and the build has said what.
const MISSING: i32 = 3;
const KINDS: [&str; 3] = ["wait", "ban", "scanner"];
const TARGET: &str = "wasm32-unknown-unknown";

fn new(folder: &Path, arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).arg("new").args(arguments).current_dir(folder))
}

/// Where builds are kept from run to run.
fn cache() -> PathBuf {
    let cache = repository().join("target/scaffolds");
    fs::create_dir_all(&cache).unwrap();
    cache
}

/// A folder that `portcullis new` has made, and how its commands find their programs.
struct Scaffold {
    name: String,
    kind: &'static str,
    folder: PathBuf,
    readme: String,
    programs: TempDir,
}

impl Scaffold {
    fn new(parent: &Path, language: &str, kind: &'static str) -> Self {
        let name = format!("my-{language}-{kind}");
        let made = new(parent, &[&name, "--kind", kind, "--lang", language]);
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{made:?}");
        let folder = parent.join(&name);
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        let programs = tempfile::tempdir().unwrap();
        symlink(portcullis(), programs.path().join("portcullis")).unwrap();
        Self { name, kind, folder, readme, programs }
    }

    /// The code block of that language below a heading of the README.
    fn block(&self, heading: &str, language: &str) -> &str {
        let section = self.readme.split_once(&format!("\n## {heading}\n")).unwrap().1;
        let section = section.split("\n## ").next().unwrap();
        section.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
    }

    /// Runs the commands below a heading of the README, as somebody would who reads it.
    fn follow(&self, heading: &str) {
        self.shell(self.block(heading, "sh"));
    }

    fn shell(&self, commands: &str) {
        let began = Instant::now();
        let mut path = OsString::from(self.programs.path());
        path.push(":");
        path.push(env::var_os("PATH").unwrap());
        let ran = run(Command::new("bash")
            .args(["-e", "-u", "-o", "pipefail", "-c", commands])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", cache())
            .env("XDG_CACHE_HOME", cache()));
        assert_eq!(ran.code, Some(0), "{}\n{commands}\n{}\n{}", self.name, ran.stdout, ran.stderr);
        println!("{}: {:.1?}\n{commands}{}", self.name, began.elapsed(), ran.stdout);
    }

    /// A program that isn't the one that the README means, but does the same.
    fn program(&self, name: &str, script: &str) {
        let path = self.programs.path().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn plugin(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// Builds it unless the very folder has been built before: each build differs, and the host
    /// compiles what it doesn't know, for Python in half a minute.
    fn build_once(&self) {
        let known = cache().join(format!("{}-{}.wasm", self.name, digest(&self.folder)));
        if known.is_file() {
            fs::copy(&known, self.plugin()).unwrap();
        } else {
            self.follow("Build");
            fs::copy(self.plugin(), &known).unwrap();
        }
    }

    /// All that comes after the build.
    fn test_and_serve(&self) {
        self.follow("Test");
        // A log of a web server, with hits and failed logins.
        let line = |n: u32| {
            format!("203.0.113.7 - abc [05/Jan/2026:12:00:{n:02} +0000] \"GET /{n} HTTP/1.1\" {} 5\n", 404 - n % 2 * 3)
        };
        fs::write(self.folder.join("LOG"), (0..50).map(line).collect::<String>()).unwrap();
        let shorter = |line: &str| match line.starts_with("portcullis bench") {
            true => format!("{line} --calls 200 --rounds 1\n"),
            false => format!("{line}\n"),
        };
        self.shell(&self.block("Try and measure", "sh").lines().map(shorter).collect::<String>());
        let config = self.block("Serve", "toml");
        fs::write(self.folder.join("portcullis.toml"), config).unwrap();
        let commands = self.block("Serve", "sh");
        let (check, serve) = commands.trim_end().split_once('\n').unwrap();
        let with =
            if self.kind == "scanner" { "--upstream http://127.0.0.1:3000" } else { "--client alice:wonderland" };
        assert_eq!(serve, format!("portcullis serve --config portcullis.toml {with}"));
        self.shell(&format!("{check}\n"));
        let config = format!("{config}[plugins]\ncache = {:?}\n", cache().join("portcullis"));
        let plugin = fs::read(self.plugin()).unwrap();
        let server = Portcullis::with_config(&config).file(&format!("{}.wasm", self.name), plugin);
        self.serves(&server.client("alice:wonderland").start());
    }

    /// The README's configuration asks for three failures or hits, or for two seconds.
    fn serves(&self, server: &Server) {
        let source = "203.0.113.7";
        let login = |secret: &str| server.get("/").from(source).basic("alice", secret).send();
        assert_eq!(login("wonderland").status, 200);
        match self.kind {
            "wait" => {
                assert_eq!(login("wrong").status, 401);
                let refused = login("wonderland");
                assert_eq!(refused.status, 429);
                assert!((1..=2).contains(&refused.retry_after()), "{refused:?}");
            }
            "ban" => {
                let others = (1..=3).map(|n| server.get("/").from(source).basic(&format!("id-{n}"), "wrong").send());
                assert_eq!(others.map(|reply| reply.status).collect::<Vec<_>>(), [401; 3]);
                assert_eq!(login("wonderland").status, 423);
            }
            _ => {
                let hits = (1..=3).map(|n| server.get(&format!("/{n}")).from(source).send());
                assert_eq!(hits.map(|reply| reply.status).collect::<Vec<_>>(), [404; 3]);
                assert_eq!(login("wonderland").status, 423);
            }
        }
        server.logged(&format!("plugin={} ", self.name));
    }
}

/// Whether the tools of that language are where `tests/languages/build` sets them up.
fn tools(language: &str) -> bool {
    let out = repository().join("target/languages/components");
    let built = run(Command::new(repository().join("tests/languages/build")).arg(out).arg(language));
    if built.code == Some(MISSING) {
        assert!(env::var("CI").as_deref() != Ok("true"), "{}", built.stderr);
        println!("SKIPPED: {language}: {}", built.stderr);
        if let Some(file) = env::var_os("PORTCULLIS_SKIPPED") {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            writeln!(file, "new: {}", built.stderr.trim()).unwrap();
        }
        return false;
    }
    assert_eq!(built.code, Some(0), "{language}: {built:?}");
    true
}

fn tool(name: &str) -> PathBuf {
    let cache = env::var_os("PORTCULLIS_LANGUAGES_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| repository().join("target/languages")).join(name)
}

/// One for all runs, so that cargo finds what it has built: it goes by the path.
fn lasting_folder() -> (PathBuf, fs::File) {
    let folder = env::temp_dir().join(format!("portcullis-new-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    (folder, lock)
}

/// What stands for `cargo build --target wasm32-unknown-unknown` where rustup can't add that
/// target, and leaves the module where the README looks for it: all builds share a folder.
fn cargo_for_guests() -> String {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let libraries = run(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    let build = if Path::new(libraries.stdout.trim()).is_dir() {
        format!("'{cargo}' \"$@\"")
    } else {
        format!(
            "folder=$PWD target=$CARGO_TARGET_DIR; cd '{}'; env -u CARGO_TARGET_DIR '{cargo}' run --quiet --locked \
             --config \"env.CARGO_TARGET_DIR='$target'\" -p portcullis-bundler -- module \"$folder\"; cd \"$folder\"",
            repository().display()
        )
    };
    format!(
        "#!/bin/sh\nset -e\ncase \"$*\" in\n\
         \"build --release --target {TARGET}\")\n{build}\nmkdir -p target/{TARGET}/release\n\
         cp \"$CARGO_TARGET_DIR/{TARGET}/release/policy.wasm\" target/{TARGET}/release/ ;;\n\
         *) exec '{cargo}' \"$@\" ;;\nesac\n"
    )
}

#[test]
fn rust() {
    let (parent, _locked) = lasting_folder();
    let cargo = cargo_for_guests();
    for kind in KINDS {
        let scaffold = Scaffold::new(&parent, "rust", kind);
        scaffold.program("cargo", &cargo);
        scaffold.follow("Build");
        assert!(fs::metadata(scaffold.plugin()).unwrap().len() < 64 << 10);
        scaffold.test_and_serve();
    }
}

#[test]
fn c() {
    if !tools("c") {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let scaffold = Scaffold::new(parent.path(), "c", kind);
        scaffold.follow("Build");
        scaffold.test_and_serve();
    }
}

#[test]
fn javascript() {
    if !tools("javascript") {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let scaffold = Scaffold::new(parent.path(), "javascript", kind);
        // As `npm install` would.
        symlink(tool("javascript/node_modules"), scaffold.folder.join("node_modules")).unwrap();
        scaffold.build_once();
        scaffold.test_and_serve();
    }
}

#[test]
fn python() {
    if !tools("python") {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let scaffold = Scaffold::new(parent.path(), "python", kind);
        // As `python3 -m venv` and `pip install` would.
        symlink(tool("python"), scaffold.folder.join(".venv")).unwrap();
        if kind == "ban" {
            scaffold.build_once();
            scaffold.test_and_serve();
        } else {
            let native = scaffold.block("Test", "sh").lines().filter(|line| !line.starts_with("portcullis "));
            scaffold.shell(&native.map(|line| format!("{line}\n")).collect::<String>());
        }
    }
}

/// Of everything that `portcullis new` has written.
fn digest(folder: &Path) -> String {
    let mut digest = Sha256::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| !path.is_symlink()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                digest.update(path.file_name().unwrap().as_encoded_bytes());
                digest.update(fs::read(path).unwrap());
            }
        }
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bindings_for_c_are_what_the_interface_gives() {
    if !tools("c") {
        return;
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let mut generate = Command::new(&cargo);
        generate.current_dir(repository()).args(["run", "--quiet", "--locked", "-p", "portcullis-component", "--"]);
        let generated = run(generate.args(["bindings", "wit", &format!("{kind}-policy")]).arg(out.path()));
        assert_eq!(generated.code, Some(0), "{generated:?}");
    }
    let embedded = repository().join("plugins/templates/c/bindings");
    let mut count = 0;
    for entry in fs::read_dir(&embedded).unwrap().map(Result::unwrap) {
        let fresh = fs::read(out.path().join(entry.file_name())).unwrap();
        assert!(
            fs::read(entry.path()).unwrap() == fresh,
            "{}: see plugins/templates/README.md",
            entry.path().display()
        );
        count += 1;
    }
    assert_eq!((count, fs::read_dir(out.path()).unwrap().count()), (9, 9));
}

#[test]
fn the_last_words_are_the_next_commands() {
    let parent = tempfile::tempdir().unwrap();
    let made = new(parent.path(), &["office-hours", "--kind", "ban", "--lang", "rust", "--path", "my own"]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{made:?}");
    let said: Vec<_> = made.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said[0], "Made my own. Next:");
    let commands = [
        "cd 'my own'",
        "rustup target add wasm32-unknown-unknown",
        "cargo build --release --target wasm32-unknown-unknown",
        "portcullis component target/wasm32-unknown-unknown/release/policy.wasm -o office-hours.wasm",
        "portcullis test office-hours.wasm",
    ];
    assert_eq!(said[1..6], commands);
    assert!(parent.path().join("my own/src/lib.rs").is_file());
}

#[test]
fn the_guide_begins_as_one_sees_it() {
    let guide = fs::read_to_string(repository().join("plugins/GUIDE.md")).unwrap();
    for language in ["rust", "python"] {
        let parent = tempfile::tempdir().unwrap();
        let command = format!("new strangers --kind ban --lang {language}");
        let made = new(parent.path(), &command.split(' ').skip(1).collect::<Vec<_>>());
        assert!(guide.contains(&format!("$ portcullis {command}\n{}", made.stdout)), "{}", made.stdout);
    }
    // What is to be edited is there.
    let lib = fs::read_to_string(repository().join("plugins/templates/rust/ban/lib.rs")).unwrap();
    assert!(lib.contains("let count = failures.take().map_or(0, |kept| kept.count).saturating_add(1);"));
}

#[test]
fn a_name_that_cant_be_says_what_would_be_right() {
    let parent = tempfile::tempdir().unwrap();
    for (wrong, right) in
        [("Office_Hours", "such as office-hours"), ("9", "begins with a letter"), ("../up", "such as up")]
    {
        let refused = new(parent.path(), &[wrong, "--kind", "ban", "--lang", "c"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(right) && refused.stdout.is_empty(), "{refused:?}");
    }
    let refused = new(parent.path(), &["x", "--kind", "bans", "--lang", "c"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_eq!(new(parent.path(), &["x", "--kind", "ban", "--lang", "cobol"]).code, Some(2));
    assert_eq!(new(parent.path(), &["x"]).code, Some(2));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn what_is_there_stays_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let arguments = ["mine", "--kind", "ban", "--lang", "c"];
    fs::create_dir(parent.path().join("mine")).unwrap();
    fs::write(parent.path().join("mine/notes"), "my own").unwrap();
    let refused = new(parent.path(), &arguments);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("mine: it is there and isn't empty"), "{refused:?}");
    assert_eq!(fs::read_dir(parent.path().join("mine")).unwrap().count(), 1);
    // An empty folder is as good as none.
    fs::remove_file(parent.path().join("mine/notes")).unwrap();
    assert_eq!(new(parent.path(), &arguments).code, Some(0));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cant_be_made_says_so() {
    let parent = tempfile::tempdir().unwrap();
    // Not even the superuser makes a folder there.
    for path in ["/proc/mine", "nowhere/mine", "/"] {
        let failed = new(parent.path(), &["mine", "--kind", "wait", "--lang", "python", "--path", path]);
        assert!(matches!(failed.code, Some(1 | 2)), "{failed:?}");
        assert!(failed.stderr.contains(path) && failed.stdout.is_empty(), "{failed:?}");
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn the_help_says_what_there_is() {
    let help = new(repository(), &["--help"]);
    assert_eq!(help.code, Some(0));
    for part in
        ["wait", "ban", "scanner", "rust", "python", "javascript", "c:", "--path <DIR>", "README.md", "Exit codes"]
    {
        assert!(help.stdout.contains(part), "{part} isn't in {}", help.stdout);
    }
    let help = run(Command::new(portcullis()).args(["component", "--help"]));
    assert!(help.stdout.contains("--output <PLUGIN.wasm>"), "{help:?}");
}
