//! The administration of a running server: its socket, TCP with a token, and
//! the commands that speak to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use portcullis_tests::{Portcullis, Ran, Server, portcullis, run};
use serde_json::Value;

/// Runs a command against that server's socket.
fn operate(server: &Server, arguments: &[&str]) -> Ran {
    let (command, rest) = arguments.split_first().unwrap();
    run(Command::new(portcullis()).arg(command).arg("--socket").arg(server.admin_socket()).args(rest))
}

/// The same, for machines.
#[track_caller]
fn json(server: &Server, arguments: &[&str]) -> Value {
    let ran = operate(server, &[arguments, &["--json"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_server() {
    let server = Portcullis::new().client("abc:right").start();
    let socket = server.admin_socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = json(&server, &["status"]);
    assert_eq!(status["pid"].as_u64(), Some(u64::from(server.id())));
    assert_eq!(status["ready"]["ready"], true);
    let _stopped = server.stop();
    assert!(!socket.exists());
}
