//! A real nginx as the service behind.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::program::peer;
use crate::wait::{eventually, free_port};

/// How many ports are tried: another may take one between our look and nginx's.
const PORTS_TRIED_MAX: u32 = 5;

/// A running nginx by `peers/nginx-backend.conf`: 200 everywhere, 404 under
/// `/nf/`, 401 at `/login`, and what benchmarks ask for.
pub struct Nginx {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If it doesn't come up.
    #[must_use]
    pub fn start() -> Self {
        (0..PORTS_TRIED_MAX).find_map(|_| Self::try_start()).expect("nginx doesn't come up")
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = fs::read_to_string(peer("nginx-backend.conf")).unwrap();
        let file = folder.path().join("nginx.conf");
        let root = format!("root {}", folder.path().display());
        fs::write(&file, config.replace("127.0.0.1:9000", &format!("127.0.0.1:{port}")).replace("root .", &root))
            .unwrap();
        fs::write(folder.path().join("megabyte"), vec![b'x'; 1_000_000]).unwrap();
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("nginx.err"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let up = eventually("nginx listens or ends", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        up.then_some(Self { child, port, _folder: folder })
    }

    /// Its master process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master is asked, so that it takes its workers along.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
