//! Rights of a thread beyond its user's. The kernel keeps them for each thread
//! by itself, and a new thread has those of the one that started it.

use nix::errno::Errno;
pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities, set_keep_capabilities};

/// Lets this thread keep `kept` of its capabilities through a change from root
/// to another user; all others go.
pub(super) fn through(kept: CapabilitySet, change: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    if kept.is_empty() {
        return change();
    }
    set_keep_capabilities(true).map_err(errno)?;
    change()?;
    let has = capabilities(None).map_err(errno)?.permitted;
    // Without one of them whoever needs it says so; there it is known what for.
    let kept = kept & has;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
        .map_err(errno)?;
    set_keep_capabilities(false).map_err(errno)
}

/// Takes `gone` from this thread, and from those that it starts from now on,
/// for good.
///
/// # Errors
/// Where the system doesn't let anyone change capabilities, not even lay one down.
pub fn lay_down(gone: CapabilitySet) -> std::io::Result<()> {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    if (permitted | effective | inheritable).intersects(gone) {
        // What isn't permitted and inheritable isn't ambient either.
        let (effective, permitted, inheritable) = (effective - gone, permitted - gone, inheritable - gone);
        set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?;
    }
    Ok(())
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_down_is_gone_from_this_thread_and_its_children_alone() {
        let before = capabilities(None).unwrap();
        let laid_down = std::thread::spawn(move || {
            lay_down(CapabilitySet::NET_ADMIN).unwrap();
            let child = std::thread::spawn(|| capabilities(None).unwrap());
            [capabilities(None).unwrap(), child.join().unwrap()]
        });
        for after in laid_down.join().unwrap() {
            assert_eq!(after.effective, before.effective - CapabilitySet::NET_ADMIN);
            assert_eq!(after.permitted, before.permitted - CapabilitySet::NET_ADMIN);
        }
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
