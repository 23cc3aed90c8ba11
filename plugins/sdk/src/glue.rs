//! What the export macro calls: from wire to types, through the judge, and back.
//! No author needs it; it is public because the macro's code lives in their crate.

use std::any::Any;
use std::sync::OnceLock;

use crate::bindings::types;
use crate::event::{Attempt, Request};
use crate::interest::Interest;
use crate::policy::{BanKind, Kind, Policy, ScannerKind, WaitKind};
use crate::settings::Settings;
use crate::state::{self, State};
use crate::text::joined;
use crate::verdict::{BanOrder, Reason, Verdict, WaitOrder, to_ms};

pub use types::{Attempt as WireAttempt, Request as WireRequest};
pub use types::{
    BanJudgement, Description, Interest as WireInterest, Setting, SettingError, SettingSpec, WaitJudgement,
};

/// Where an instance keeps its settings: the only thing that it may remember.
#[derive(Debug, Default)]
pub struct Slot(OnceLock<Box<dyn Any + Send + Sync>>);

impl Slot {
    /// Not configured yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get<S: 'static>(&self) -> Result<&S, String> {
        self.0
            .get()
            .and_then(|settings| settings.downcast_ref())
            .ok_or_else(|| "judge was called before configure".to_owned())
    }
}

/// What the export macro knows of a plugin.
#[derive(Debug)]
pub struct About {
    /// The plugin's name.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// What the plugin is for, one line.
    pub doc: &'static str,
}

/// The answer of `describe`. A plugin of several kinds names all their formats, so
/// that a change of any of them sets the old state aside.
pub fn describe(about: &About, settings: Vec<SettingSpec>, formats: &[&str]) -> Description {
    let mut state_format = String::new();
    for (index, format) in formats.iter().enumerate() {
        if !formats[..index].contains(format) {
            if index > 0 {
                state_format.push('+');
            }
            state_format.push_str(format);
        }
    }
    Description {
        name: about.name.to_owned(),
        version: about.version.to_owned(),
        doc: about.doc.to_owned(),
        state_format,
        settings,
    }
}

/// The settings that a judge takes.
pub fn specs<K: Kind, Shape, P: Policy<K, Shape>>(_: &P) -> Vec<SettingSpec> {
    P::Settings::specs()
}

/// The format of the state that a judge keeps.
pub fn format<K: Kind, Shape, P: Policy<K, Shape>>(_: &P) -> &'static str {
    P::State::FORMAT
}

/// Compiles only if two judges of one plugin take the same settings: a plugin is
/// described and configured once.
pub fn same_settings<KA, SA, A, KB, SB, B>(_: &A, _: &B)
where
    KA: Kind,
    KB: Kind,
    A: Policy<KA, SA>,
    B: Policy<KB, SB, Settings = A::Settings>,
{
}

/// The interest of a plugin that declares none.
pub fn everything<S>(_: &S) -> Interest {
    Interest::everything()
}

/// `configure`: reads the settings, and keeps them for the judges.
///
/// # Errors
/// Every mistake in the settings, or a second call.
pub fn configure<K: Kind, Shape, P: Policy<K, Shape>>(
    slot: &Slot,
    _: &P,
    settings: Vec<Setting>,
    interest: fn(&P::Settings) -> Interest,
) -> Result<WireInterest, Vec<SettingError>> {
    let settings = P::Settings::from_values(settings)?;
    let wanted = interest(&settings);
    slot.0.set(Box::new(settings)).map_err(|_| {
        vec![SettingError { name: String::new(), message: "configure was called twice on one instance".to_owned() }]
    })?;
    Ok(wanted.into())
}

/// Judges one event on a state given in bytes. State that can't be read is told in
/// the log and then counts as none: the format's name already keeps foreign state
/// out, and an error would fail the same subject again and again.
pub(crate) fn judge<K: Kind, Shape, P: Policy<K, Shape>>(
    policy: &P,
    settings: &P::Settings,
    event: &K::Event,
    before: Option<&[u8]>,
) -> Result<(Verdict<K::Order>, types::Keep), String> {
    let mut state = before.and_then(|bytes| match P::State::decode(bytes) {
        Ok(state) => Some(state),
        Err(why) => {
            warn_of_state(P::State::FORMAT, &why);
            None
        }
    });
    let verdict = policy.judge(settings, event, &mut state)?;
    let keep = state::keep(before, state.as_ref(), verdict.keep_for)?;
    Ok((verdict, keep))
}

#[cold]
fn warn_of_state(format: &str, why: &str) {
    let parts = ["state of format ", format, " can't be read, starting anew: ", why];
    crate::log::warn(&joined(&parts));
}

/// `wait.judge`.
///
/// # Errors
/// What the judge returned, or that it was called before `configure`.
pub fn judge_wait<Shape, P: Policy<WaitKind, Shape>>(
    slot: &Slot,
    policy: &P,
    attempt: WireAttempt,
    state: Option<Vec<u8>>,
) -> Result<WaitJudgement, String> {
    let event = Attempt::from(attempt);
    let (verdict, keep) = judge(policy, slot.get()?, &event, state.as_deref())?;
    let verdict = match verdict.order {
        None => types::WaitVerdict::Pass,
        Some(WaitOrder { duration, reason }) => {
            types::WaitVerdict::Wait(types::WaitOrder { duration: to_ms(duration), reason: reason.into() })
        }
    };
    Ok(WaitJudgement { verdict, keep })
}

/// `ban.judge`.
///
/// # Errors
/// What the judge returned, or that it was called before `configure`.
pub fn judge_ban<Shape, P: Policy<BanKind, Shape>>(
    slot: &Slot,
    policy: &P,
    attempt: WireAttempt,
    state: Option<Vec<u8>>,
) -> Result<BanJudgement, String> {
    let event = Attempt::from(attempt);
    let (verdict, keep) = judge(policy, slot.get()?, &event, state.as_deref())?;
    Ok(BanJudgement { verdict: verdict.into(), keep })
}

/// `scanner.judge`.
///
/// # Errors
/// What the judge returned, or that it was called before `configure`.
pub fn judge_scanner<Shape, P: Policy<ScannerKind, Shape>>(
    slot: &Slot,
    policy: &P,
    request: WireRequest,
    state: Option<Vec<u8>>,
) -> Result<BanJudgement, String> {
    let event = Request::from(request);
    let (verdict, keep) = judge(policy, slot.get()?, &event, state.as_deref())?;
    Ok(BanJudgement { verdict: verdict.into(), keep })
}

impl From<Verdict<BanOrder>> for types::BanVerdict {
    fn from(verdict: Verdict<BanOrder>) -> Self {
        match verdict.order {
            None => Self::Pass,
            Some(BanOrder { duration, prefix_length, reason }) => {
                Self::Ban(types::BanOrder { duration: to_ms(duration), prefix_length, reason: reason.into() })
            }
        }
    }
}

impl From<Reason> for types::Reason {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code, text: reason.text }
    }
}
