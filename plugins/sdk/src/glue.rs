//! What the export macro calls: from wire to types, through the judge, and back.
//! No author needs it; it is public because the macro's code lives in their crate.

#![expect(unsafe_code, reason = "a judge is entered with what the host wrote to memory")]

use std::any::{Any, TypeId};
use std::sync::OnceLock;

use crate::bindings::types;
use crate::interest::Interest;
use crate::policy::{BanKind, Kind, Policy, ScannerKind, WaitKind};
use crate::settings::Settings;
use crate::state::{self, State};
use crate::text::joined;
use crate::verdict::Verdict;
use crate::wire::{Desk, Handed, Wire, WireAttempt, WireOrder, WireRequest};

pub use types::{Description, Interest as WireInterest, Setting, SettingError, SettingSpec};

/// Where an instance keeps its settings, the only thing that it may remember, and lays
/// its answers out.
#[derive(Debug)]
pub struct Slot {
    settled: OnceLock<Settled>,
    desk: Desk,
}

/// Settings, and of which type they are: asking them would be a call by table.
#[derive(Debug)]
struct Settled {
    of: TypeId,
    settings: Box<dyn Any + Send + Sync>,
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    /// Not configured yet.
    pub const fn new() -> Self {
        Self { settled: OnceLock::new(), desk: Desk::new() }
    }

    /// Whether they were the first.
    fn set<S: Any + Send + Sync>(&self, settings: S) -> bool {
        self.settled.set(Settled { of: TypeId::of::<S>(), settings: Box::new(settings) }).is_ok()
    }

    #[inline(always)]
    fn get<S: 'static>(&self) -> Option<&S> {
        let Settled { of, settings } = self.settled.get()?;
        let settings: *const (dyn Any + Send + Sync) = &raw const **settings;
        // SAFETY: the box holds an `S`: `set` noted its type.
        (*of == TypeId::of::<S>()).then(|| unsafe { &*settings.cast::<S>() })
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
    if slot.set(settings) {
        return Ok(wanted.into());
    }
    let message = "configure was called twice on one instance".to_owned();
    Err(vec![SettingError { name: String::new(), message }])
}

/// Judges one event on a state given in bytes.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn judge<K: Kind, Shape, P: Policy<K, Shape>>(
    policy: &P,
    settings: &P::Settings,
    event: &K::Event,
    before: Option<&[u8]>,
) -> Result<(Verdict<K::Order>, types::Keep), String> {
    let mut state = read(before);
    let verdict = policy.judge(settings, event, &mut state)?;
    let keep = state::keep(before, state.as_ref(), verdict.keep_for)?;
    Ok((verdict, keep))
}

/// State that can't be read is told in the log and then counts as none: the format's
/// name already keeps foreign state out, and an error would fail the same subject again
/// and again.
#[inline(always)]
fn read<S: State>(before: Option<&[u8]>) -> Option<S> {
    before.and_then(|bytes| match S::decode(bytes) {
        Ok(state) => Some(state),
        Err(why) => {
            warn_of_state(S::FORMAT, &why);
            None
        }
    })
}

#[cold]
fn warn_of_state(format: &str, why: &str) {
    let parts = ["state of format ", format, " can't be read, starting anew: ", why];
    crate::log::warn(&joined(&parts));
}

/// `judge` of whatever kind, from and to memory.
#[inline(always)]
unsafe fn enter<K, Shape, P, W>(slot: &Slot, policy: &P, arguments: *mut u8) -> *mut u8
where
    K: Kind<Order: WireOrder>,
    P: Policy<K, Shape>,
    W: Wire<Event = K::Event>,
{
    // SAFETY: by the caller's promise.
    let handed = unsafe { Handed::<W>::take(arguments) };
    let before = handed.state();
    let mut state = read::<P::State>(before);
    let verdict = match slot.get() {
        Some(settings) => policy.judge(settings, handed.event(), &mut state),
        None => Err("judge was called before configure".to_owned()),
    };
    // What most events come to. It is found out where the verdict lies: moving one about
    // costs more than judging did.
    let passes = matches!(&verdict, Ok(verdict) if verdict.order.is_none());
    // SAFETY: a guest has one thread, and a host reads an answer before it calls again.
    let answer = unsafe {
        if passes && before.is_none() && state.is_none() {
            slot.desk.nothing::<K::Order>()
        } else {
            slot.desk.lay_out(in_full(verdict, before, state.as_ref()))
        }
    };
    handed.give_back();
    answer
}

#[inline(never)]
fn in_full<O, S: State>(
    verdict: Result<Verdict<O>, String>,
    before: Option<&[u8]>,
    state: Option<&S>,
) -> Result<(Option<O>, types::Keep), String> {
    let verdict = verdict?;
    let keep = state::keep(before, state, verdict.keep_for)?;
    Ok((verdict.order, keep))
}

/// `wait.judge`.
///
/// # Safety
/// The arguments are what a host hands over.
pub unsafe fn judge_wait<Shape, P: Policy<WaitKind, Shape>>(slot: &Slot, policy: &P, arguments: *mut u8) -> *mut u8 {
    // SAFETY: by the caller's promise.
    unsafe { enter::<WaitKind, Shape, P, WireAttempt>(slot, policy, arguments) }
}

/// `ban.judge`.
///
/// # Safety
/// The arguments are what a host hands over.
pub unsafe fn judge_ban<Shape, P: Policy<BanKind, Shape>>(slot: &Slot, policy: &P, arguments: *mut u8) -> *mut u8 {
    // SAFETY: by the caller's promise.
    unsafe { enter::<BanKind, Shape, P, WireAttempt>(slot, policy, arguments) }
}

/// `scanner.judge`.
///
/// # Safety
/// The arguments are what a host hands over.
pub unsafe fn judge_scanner<Shape, P: Policy<ScannerKind, Shape>>(
    slot: &Slot,
    policy: &P,
    arguments: *mut u8,
) -> *mut u8 {
    // SAFETY: by the caller's promise.
    unsafe { enter::<ScannerKind, Shape, P, WireRequest>(slot, policy, arguments) }
}
