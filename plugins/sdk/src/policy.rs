//! The trait behind every judge, and what tells the three kinds apart.

use crate::event::{Attempt, Request};
use crate::settings::Settings;
use crate::state::{NoState, State};
use crate::verdict::{BanOrder, Verdict, WaitOrder};

/// A kind of policy: what it judges, and what it may order.
pub trait Kind {
    /// What the policy is asked about.
    type Event;
    /// What it may order.
    type Order;
}

/// Judges login attempts; may order waits.
#[derive(Debug)]
pub enum WaitKind {}

/// Judges login attempts; may order bans.
#[derive(Debug)]
pub enum BanKind {}

/// Judges answered requests; may order bans.
#[derive(Debug)]
pub enum ScannerKind {}

impl Kind for WaitKind {
    type Event = Attempt;
    type Order = WaitOrder;
}

impl Kind for BanKind {
    type Event = Attempt;
    type Order = BanOrder;
}

impl Kind for ScannerKind {
    type Event = Request;
    type Order = BanOrder;
}

/// A policy of kind `K`. Plain functions are policies, in two shapes:
///
/// - `fn(&Settings, &Event, &mut Option<State>) -> Verdict`, and
/// - `fn(&Settings, &Event) -> Verdict`, which keeps no state;
///
/// either may return `Result<Verdict, String>` instead, where an error is a
/// failure of the plugin. `Shape` only tells the shapes apart for the compiler.
pub trait Policy<K: Kind, Shape = ()> {
    /// What the operator can set.
    type Settings: Settings;
    /// What is kept for a subject.
    type State: State;

    /// Judges one event. Must depend on nothing but its arguments.
    ///
    /// # Errors
    /// An error is a failure of the plugin, which the host answers by its ladder.
    fn judge(
        &self,
        settings: &Self::Settings,
        event: &K::Event,
        state: &mut Option<Self::State>,
    ) -> Result<Verdict<K::Order>, String>;
}

impl<K, F, S, T, A> Policy<K, fn(S, T) -> A> for F
where
    K: Kind,
    F: Fn(&S, &K::Event, &mut Option<T>) -> A,
    S: Settings,
    T: State,
    A: Answer<K::Order>,
{
    type Settings = S;
    type State = T;

    fn judge(&self, settings: &S, event: &K::Event, state: &mut Option<T>) -> Result<Verdict<K::Order>, String> {
        self(settings, event, state).answer()
    }
}

impl<K, F, S, A> Policy<K, fn(S) -> A> for F
where
    K: Kind,
    F: Fn(&S, &K::Event) -> A,
    S: Settings,
    A: Answer<K::Order>,
{
    type Settings = S;
    type State = NoState;

    fn judge(&self, settings: &S, event: &K::Event, state: &mut Option<NoState>) -> Result<Verdict<K::Order>, String> {
        *state = None;
        self(settings, event).answer()
    }
}

/// What a judge may return: a verdict, or a result of one.
pub trait Answer<Order> {
    /// The verdict, or why there is none.
    ///
    /// # Errors
    /// What the judge returned as its error.
    fn answer(self) -> Result<Verdict<Order>, String>;
}

impl<Order> Answer<Order> for Verdict<Order> {
    fn answer(self) -> Result<Verdict<Order>, String> {
        Ok(self)
    }
}

impl<Order> Answer<Order> for Result<Verdict<Order>, String> {
    fn answer(self) -> Result<Verdict<Order>, String> {
        self
    }
}
