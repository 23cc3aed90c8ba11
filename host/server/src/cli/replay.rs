//! `portcullis replay`.

use clap::Args;

use super::Failed;

#[derive(Args)]
pub(super) struct ReplayArgs {}

pub(super) fn replay(_: &ReplayArgs) -> Result<(), Failed> {
    Err(Failed::No("not there yet".to_owned()))
}
