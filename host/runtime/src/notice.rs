//! What an operator should hear about how the runtime came up; nothing here
//! stops it.

use std::path::PathBuf;

/// Something that isn't as it was meant to be, and works all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Instances are made one by one.
    #[error("plugins run without an instance pool, new instances take longer: {reason}")]
    NoInstancePool {
        /// Why there is no pool.
        reason: String,
    },
    /// Plugins are compiled anew at each start.
    #[error("plugins run without a cache of compiled code in {}: {reason}", folder.display())]
    NoCache {
        /// The folder that was configured.
        folder: PathBuf,
        /// Why it isn't used.
        reason: String,
    },
}
