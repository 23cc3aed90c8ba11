//! The program as a service of the system: the user that it runs as, and what
//! the service manager hears.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use portcullis_tests::{DEADLINE, Portcullis, eventually, portcullis, repository, require, run};
use rustix::process::geteuid;

/// A user with few rights that every system has.
const NOBODY: &str = "nobody";
const NOBODY_ID: u32 = 65534;

/// Whether this process may become somebody; the tests that need it say so.
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("SKIPPED: only root can become somebody");
    }
    root
}

/// The values of a line of a thread's `status`.
fn of_thread(status: &str, name: &str) -> Vec<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn started_as_root_every_thread_becomes_the_configured_user_for_good() {
    if !is_root() {
        return;
    }
    let config = format!(
        "[service]\nuser = \"{NOBODY}\"\n[plugins]\ncache = \"cache\"\n[state]\nstore = \"sqlite:state.sqlite\"\n[journal]\ndir = \"journal\"\n"
    );
    let server = Portcullis::with_config(&config).client("abc:right").owned_by(NOBODY_ID).start();
    assert_eq!(server.get("/").basic("abc", "right").send().status, 200);
    let tasks: Vec<_> = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().map(Result::unwrap).collect();
    assert!(tasks.len() > 3, "{tasks:?}");
    for task in tasks {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let id = NOBODY_ID.to_string();
        for who in ["Uid", "Gid"] {
            assert!(of_thread(&status, who).iter().all(|one| *one == id), "{status}");
        }
        assert!(of_thread(&status, "Groups").iter().all(|group| group != "0"), "{status}");
        for rights in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(of_thread(&status, rights), ["0000000000000000"], "{status}");
        }
        assert_eq!(of_thread(&status, "NoNewPrivs"), ["1"], "{status}");
    }
    server.logged("runs as user nobody");
    assert!(server.log_with("running as root").is_empty());
    // A reload reads all that the start could.
    server.hang_up();
    server.swapped(1);
    assert!(server.stop().status.success());
}

#[test]
fn whom_it_cannot_become_or_who_cannot_read_its_configuration_is_refused() {
    let failed = Portcullis::with_config("[service]\nuser = \"no-such-user-here\"\n").fail_to_start();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("service.user: there is no user called \"no-such-user-here\""), "{failed:?}");
    let failed = Portcullis::with_config("[service]\nuser = \"root\"\n").fail_to_start();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("service.user: \"root\" is root"), "{failed:?}");
    if is_root() {
        // Such a file is for root alone.
        let config = format!("[service]\nuser = \"{NOBODY}\"\n");
        let failed = Portcullis::new().file("portcullis.toml", config).fail_to_start();
        assert_eq!(failed.code, Some(2), "{failed:?}");
        assert!(failed.stderr.contains("the user \"nobody\" (service.user) can't read it"), "{failed:?}");
    }
}

#[test]
fn whoever_runs_as_root_without_need_is_warned() {
    let server = Portcullis::new().client("abc:right").start();
    assert_eq!(server.log_with("running as root").len(), usize::from(geteuid().is_root()));
}

#[test]
fn the_service_manager_hears_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let server = Portcullis::new()
        .client("abc:right")
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", "300000")
        .start();
    let hears = |what: &str| {
        eventually(what, || {
            let mut bytes = [0; 4096];
            let read = manager.recv(&mut bytes).unwrap();
            let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
            said.lines().any(|line| line == what).then_some(said)
        })
    };
    let ready = hears("READY=1");
    assert!(ready.contains(&format!("STATUS=serving {}", server.address())), "{ready}");
    assert_eq!(server.get("/").basic("abc", "right").send().status, 200);
    (0..3).for_each(|_| drop(hears("WATCHDOG=1")));
    server.hang_up();
    let reloading = hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hears("READY=1");
    // The log may come a moment later; what is counted doesn't.
    let metrics = server.administration("/metrics");
    assert!(metrics.contains("\nportcullis_swaps_total{result=\"ok\"} 1\n"), "it is ready when that is in force");
    server.terminate();
    hears("STOPPING=1");
    assert!(server.wait().status.success());
}

#[test]
fn the_unit_starts_the_program_with_the_packages_configuration() {
    let unit = fs::read_to_string(repository().join("host/server/systemd/portcullis.service")).unwrap();
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let words: Vec<_> = of("ExecStart").split(' ').collect();
    let ["/usr/bin/portcullis", "serve", "--config", "/etc/portcullis/portcullis.toml"] = words[..] else {
        panic!("{words:?}")
    };
    let config = repository().join("host/server/debian/portcullis.toml");
    let checked = run(Command::new(portcullis()).arg("check").arg("--config").arg(&config));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    // What the configuration writes to is what the unit lets it write to.
    let text = fs::read_to_string(config).unwrap();
    for (folder, key) in
        [("/var/lib/", "StateDirectory"), ("/run/", "RuntimeDirectory"), ("/var/cache/", "CacheDirectory")]
    {
        assert!(text.contains(&format!("{folder}{}", of(key))), "{folder} isn't in {text}");
    }
}

#[test]
fn one_command_makes_a_package_that_holds_everything() {
    if !require("dpkg-shlibdeps") || !require("strip") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Packed as it is: nobody sends this one anywhere.
    let built = run(Command::new(repository().join("host/server/debian/build"))
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .arg("--binary")
        .arg(portcullis())
        .arg("--out")
        .arg(folder.path()));
    assert_eq!(built.code, Some(0), "{built:?}");
    let package = Path::new(built.stdout.trim());
    let fields = run(Command::new("dpkg-deb").arg("--field").arg(package)).stdout;
    assert!(fields.contains("Package: portcullis\n") && fields.contains("libc6"), "{fields}");
    let unpacked = folder.path().join("unpacked");
    assert_eq!(run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&unpacked)).code, Some(0));
    for file in [
        "DEBIAN/postinst",
        "DEBIAN/postrm",
        "etc/portcullis/portcullis.toml",
        "usr/lib/systemd/system/portcullis.service",
        "usr/share/bash-completion/completions/portcullis",
        "usr/share/doc/portcullis/copyright",
        "usr/share/doc/portcullis/examples/firewall.conf",
        "usr/share/doc/portcullis/examples/grafana-dashboard.json",
        "usr/share/doc/portcullis/examples/proxies/nginx.conf",
        "usr/share/man/man1/portcullis-serve.1.gz",
    ] {
        assert!(unpacked.join(file).is_file(), "{file} isn't in it");
    }
    let config = unpacked.join("etc/portcullis/portcullis.toml");
    let checked = run(Command::new(unpacked.join("usr/bin/portcullis")).arg("check").arg("--config").arg(config));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let conffiles = fs::read_to_string(unpacked.join("DEBIAN/conffiles")).unwrap();
    assert_eq!(conffiles, "/etc/portcullis/portcullis.toml\n");
}
