//! `portcullis new`.

use clap::Args;

use super::Failed;

#[derive(Args)]
pub(super) struct NewArgs {}

pub(super) fn new(_: &NewArgs) -> Result<(), Failed> {
    Err(Failed::No("not there yet".to_owned()))
}
