//! What README shows is what one sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use portcullis_tests::{Portcullis, repository, require, run};

/// A command of README and the lines that it is said to print.
struct Shown {
    command: String,
    prints: Vec<String>,
}

/// The commands of the console blocks with which README has one try it: `$ ` begins one, `> ` goes on with it.
fn shown() -> Vec<Shown> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    // What is shown further below is of a server that has been at work for a while.
    let (readme, _) = readme.split_once("\n## Run the tests\n").unwrap();
    let mut shown: Vec<Shown> = Vec::new();
    for block in readme.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for line in block.lines().filter(|line| !line.is_empty()) {
            if let Some(command) = line.strip_prefix("$ ") {
                shown.push(Shown { command: command.to_owned(), prints: Vec::new() });
            } else if let Some(more) = line.strip_prefix("> ") {
                let command = &mut shown.last_mut().unwrap().command;
                command.push('\n');
                command.push_str(more);
            } else {
                shown.last_mut().unwrap().prints.push(line.to_owned());
            }
        }
    }
    shown
}

/// Without what differs from run to run: letter case of header names, and how
/// much of a wait is over.
fn comparable(line: &str) -> String {
    let line = line.trim_end().to_ascii_lowercase();
    line.split_once("retry-after:").map_or(line.clone(), |_| "retry-after".to_owned())
}

#[test]
fn the_commands_of_readme_print_what_it_says() {
    if !require("curl") {
        return;
    }
    let server = Portcullis::with_config("[source]\ntrusted_proxies = []\n").client("alice:wonderland").start();
    let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let shown = shown();
    assert_eq!(shown.len(), 6);
    for Shown { command, prints } in shown {
        let ran = run(Command::new("bash").arg("-c").arg(command.replace("127.0.0.1:8080", &address)));
        let mut printed = ran.stdout.lines().map(comparable);
        for line in prints.iter().filter(|line| *line != "…") {
            let line = comparable(line);
            assert!(
                printed.any(|printed| printed == line),
                "{command}\nshould print {line:?} and prints\n{}",
                ran.stdout
            );
        }
    }
}
