//! Maps that strangers fill: bounded in what they hold (rule 20), and cut into
//! shards so that cores seldom meet.

mod bounded;
mod shards;

pub(crate) use bounded::BoundedMap;
pub(crate) use shards::Shards;
