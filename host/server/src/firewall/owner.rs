//! One server alone keeps the table of a network namespace: two would take it
//! from each other for ever, each with its own bans. It must not know the table.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

/// The name that its keeper has, as `ss -xa` shows it behind an `@`.
pub(super) const NAME: &str = "portcullis-firewall";

/// Takes that name in this network namespace, for as long as what is returned
/// lives; whatever becomes of the process, the name goes with it. Nobody can
/// connect to it.
///
/// # Errors
/// [`Errno::ADDRINUSE`] where somebody has it.
pub(super) fn claim(name: &str) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_with_its_keeper() {
        let name = format!("portcullis-test-{}", std::process::id());
        let ours = claim(&name).unwrap();
        assert_eq!(claim(&name).unwrap_err(), Errno::ADDRINUSE);
        drop(ours);
        claim(&name).unwrap();
    }
}
