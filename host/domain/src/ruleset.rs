//! What is in force: the policies and the operator's limits, swapped as a whole.

use std::sync::Arc;
use std::time::Duration;

use crate::judge::{Answered, Judge, Kind, PolicyMode, SubjectBy};
use crate::shadow::ShadowLedger;
use crate::source::SourceRules;
use crate::store::{Store, Table};

/// One configured use of a plugin.
pub struct Policy {
    name: Arc<str>,
    kind: Kind,
    subject: SubjectBy,
    judge: Arc<dyn Judge>,
    mode: PolicyMode,
}

impl Policy {
    /// A policy of that name that enforces; names are unique in a ruleset.
    #[must_use]
    pub fn new(name: &str, kind: Kind, subject: SubjectBy, judge: Arc<dyn Judge>) -> Self {
        Self { name: name.into(), kind, subject, judge, mode: PolicyMode::Enforce }
    }

    /// The same in that mode.
    #[must_use]
    pub fn mode(self, mode: PolicyMode) -> Self {
        Self { mode, ..self }
    }
}

/// The operator's bounds on what policies may order and strangers may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts of one source that may be under way at once (rule 12).
    pub max_inflight_attempts: usize,
    /// Longest wait that is enforced (rule 4).
    pub max_wait: Duration,
    /// Longest ban that is enforced (rule 4).
    pub max_ban: Duration,
    /// How long a pair that succeeded counts as verified (rule 8); zero: never.
    pub verified_for: Duration,
    /// Bans of one policy that are enforced in a minute; more are only told of
    /// ([`crate::guard`]). `None`: all are enforced.
    pub max_bans_per_minute: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_inflight_attempts: 4,
            max_wait: Duration::from_secs(3600),
            max_ban: Duration::from_secs(365 * 24 * 3600),
            verified_for: Duration::from_secs(300),
            max_bans_per_minute: None,
        }
    }
}

/// A policy bound to the table of its kept state.
pub(crate) struct Bound {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) subject: SubjectBy,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) table: Arc<dyn Table>,
    /// There for a policy in shadow mode.
    pub(crate) shadow: Option<Arc<ShadowLedger>>,
}

impl Bound {
    pub(crate) const fn mode(&self) -> PolicyMode {
        match self.shadow {
            None => PolicyMode::Enforce,
            Some(_) => PolicyMode::Shadow,
        }
    }
}

/// Everything that can be changed while the gate stands. A swap replaces it as
/// a whole: an event is judged by one ruleset from beginning to end.
pub struct Ruleset {
    /// Who is it.
    pub source: SourceRules,
    /// How much at most.
    pub limits: Limits,
    pub(crate) policies: Vec<Bound>,
    attempt_attributes: Vec<String>,
    request_attributes: Vec<String>,
}

impl Ruleset {
    /// Binds policies to their kept state in `store`. State outlives a ruleset:
    /// a policy of the same name finds what was kept, format by format.
    #[must_use]
    pub fn new(source: SourceRules, limits: Limits, policies: Vec<Policy>, store: &dyn Store) -> Self {
        let bind = |policy: Policy| Bound {
            table: store.table(&policy.name, policy.judge.formats()),
            shadow: (policy.mode == PolicyMode::Shadow).then(|| {
                let ledger = store.shadow(&policy.name);
                ledger.runs(policy.judge.provenance(Answered::Own));
                ledger
            }),
            name: policy.name,
            kind: policy.kind,
            subject: policy.subject,
            judge: policy.judge,
        };
        let policies: Vec<Bound> = policies.into_iter().map(bind).collect();
        let attempt_attributes = attributes(&policies, |kind| kind != Kind::Scanner);
        let request_attributes = attributes(&policies, |kind| kind == Kind::Scanner);
        Self { source, limits, policies, attempt_attributes, request_attributes }
    }

    /// Names of the attributes that some policy wants with an attempt.
    #[must_use]
    pub fn attempt_attributes(&self) -> &[String] {
        &self.attempt_attributes
    }

    /// Names of the attributes that some policy wants with a request.
    #[must_use]
    pub fn request_attributes(&self) -> &[String] {
        &self.request_attributes
    }
}

fn attributes(policies: &[Bound], wanted: impl Fn(Kind) -> bool) -> Vec<String> {
    let interested = policies.iter().filter(|policy| wanted(policy.kind));
    let mut names: Vec<String> = interested.flat_map(|policy| policy.judge.interest().attributes.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
