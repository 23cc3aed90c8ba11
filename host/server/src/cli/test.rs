//! `portcullis test`.

use clap::Args;

use super::Failed;

#[derive(Args)]
pub(super) struct TestArgs {}

pub(super) fn test(_: &TestArgs) -> Result<(), Failed> {
    Err(Failed::No("not there yet".to_owned()))
}
