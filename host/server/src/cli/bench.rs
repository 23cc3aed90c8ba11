//! `portcullis bench`.

use clap::Args;

use super::Failed;

#[derive(Args)]
pub(super) struct BenchArgs {}

pub(super) fn bench(_: &BenchArgs) -> Result<(), Failed> {
    Err(Failed::No("not there yet".to_owned()))
}
