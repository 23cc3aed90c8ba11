//! What a policy may answer. An order can't be made without a reason, and a
//! `wait` policy has no way to say ban.

use std::time::Duration;

/// The longest duration that the interface can carry, in milliseconds.
pub(crate) const DURATION_MS_MAX: u64 = (1 << 53) - 1;

/// A judge's answer: pass, or an order of its kind; and how long the state that
/// it leaves behind is to be kept.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Verdict<Order> {
    pub(crate) order: Option<Order>,
    pub(crate) keep_for: Option<Duration>,
}

impl<Order> Verdict<Order> {
    /// Nothing is ordered.
    pub fn pass() -> Self {
        Self { order: None, keep_for: None }
    }

    fn order_of(order: Order) -> Self {
        Self { order: Some(order), keep_for: None }
    }

    /// Keeps the state that the judge leaves for this long from the event on,
    /// rounded up to milliseconds. Without it a new state is kept until the host
    /// needs the room, and an unchanged one keeps the time that it had.
    pub fn keep_for(mut self, duration: impl Into<Duration>) -> Self {
        self.keep_for = Some(duration.into());
        self
    }

    /// Whether the verdict lets the event pass.
    pub fn is_pass(&self) -> bool {
        self.order.is_none()
    }

    /// What is ordered, if anything.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// How long the state is to be kept, if the judge said so.
    pub fn kept_for(&self) -> Option<Duration> {
        self.keep_for
    }
}

/// Why, for operators. Shown in the log, never to clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Short and stable, `[a-z0-9-]{1,32}`: it becomes a metrics label.
    pub code: String,
    /// One line, at most 200 bytes.
    pub text: String,
}

/// The subject is to wait.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitOrder {
    /// From the event on.
    pub duration: Duration,
    /// Why.
    pub reason: Reason,
}

/// The event's source is to be banned.
#[derive(Clone, Debug, PartialEq)]
pub struct BanOrder {
    /// From the event on.
    pub duration: Duration,
    /// Bits of the source that are banned; absent: the one IPv4 address, or the
    /// operator's IPv6 prefix.
    pub prefix_length: Option<u8>,
    /// Why.
    pub reason: Reason,
}

/// A wait that still lacks its reason.
#[derive(Clone, Copy, Debug)]
#[must_use = "a wait is ordered once it has a reason: call `because`"]
pub struct Wait {
    duration: Duration,
}

impl Wait {
    /// A wait of so long.
    pub fn new(duration: impl Into<Duration>) -> Self {
        Self { duration: duration.into() }
    }

    /// Orders the wait: a short stable code (`[a-z0-9-]{1,32}`), and one line of text.
    pub fn because(self, code: impl Into<String>, text: impl Into<String>) -> Verdict<WaitOrder> {
        Verdict::order_of(WaitOrder {
            duration: self.duration,
            reason: Reason { code: code.into(), text: text.into() },
        })
    }
}

/// A ban that still lacks its reason.
#[derive(Clone, Copy, Debug)]
#[must_use = "a ban is ordered once it has a reason: call `because`"]
pub struct Ban {
    duration: Duration,
    prefix_length: Option<u8>,
}

impl Ban {
    /// A ban of so long.
    pub fn new(duration: impl Into<Duration>) -> Self {
        Self { duration: duration.into(), prefix_length: None }
    }

    /// Bans the network of this many bits around the source instead of the source
    /// alone. The host clamps it to the widest that the operator allows.
    pub fn network(mut self, prefix_length: u8) -> Self {
        self.prefix_length = Some(prefix_length);
        self
    }

    /// Orders the ban: a short stable code (`[a-z0-9-]{1,32}`), and one line of text.
    pub fn because(self, code: impl Into<String>, text: impl Into<String>) -> Verdict<BanOrder> {
        Verdict::order_of(BanOrder {
            duration: self.duration,
            prefix_length: self.prefix_length,
            reason: Reason { code: code.into(), text: text.into() },
        })
    }
}

/// Milliseconds for the wire: never shorter than asked, never beyond its bound.
pub(crate) const fn to_ms(duration: Duration) -> u64 {
    // Not by `as_millis`, whose u128 would be a twentieth of a guest.
    let whole = duration.as_secs().saturating_mul(1000);
    let ms = whole.saturating_add(duration.subsec_nanos().div_ceil(1_000_000) as u64);
    if ms < DURATION_MS_MAX { ms } else { DURATION_MS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_to_milliseconds_and_bounded() {
        assert_eq!(to_ms(Duration::ZERO), 0);
        assert_eq!(to_ms(Duration::from_nanos(1)), 1);
        assert_eq!(to_ms(Duration::from_secs_f64(2.7)), 2700);
        assert_eq!(to_ms(Duration::MAX), DURATION_MS_MAX);
    }
}
