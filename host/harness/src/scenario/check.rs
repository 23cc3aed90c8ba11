//! Whether what came is what was expected.

use portcullis_domain::{Enforced, Judged, Order, StateBytes};

use super::model::{Expect, Expected, ExpectedOrder, KeptBytes, Ordered, Sum};
use crate::world::Reaction;

impl Expect {
    /// Whether the event came to that.
    #[must_use]
    pub fn holds(&self, reaction: &Reaction, reply: u16) -> bool {
        self.reply.is_none_or(|expected| expected == reply) && self.what.holds(reaction, self.denied_too())
    }

    /// Orders beside a 503: one policy orders while another can't judge.
    fn denied_too(&self) -> bool {
        self.reply == Some(503)
    }

    /// Whether a plugin may fail.
    #[must_use]
    pub fn forgives(&self) -> bool {
        match self.what {
            Expected::Any | Expected::Denied => true,
            Expected::Orders(_) => self.denied_too(),
            Expected::Sound | Expected::Pass | Expected::Verified | Expected::Refused { .. } => false,
        }
    }
}

impl Expected {
    fn holds(&self, reaction: &Reaction, denied: bool) -> bool {
        match (self, reaction) {
            (Self::Any | Self::Sound, _) | (Self::Verified, Reaction::Verified) => true,
            (Self::Pass, Reaction::Judged(judged)) => !judged.denied && judged.orders.is_empty(),
            (Self::Denied, Reaction::Judged(judged)) => judged.denied,
            (Self::Orders(orders), Reaction::Judged(judged)) => judged.denied == denied && all_match(orders, judged),
            (Self::Refused { status, retry_after }, Reaction::Refused(refusal)) => {
                let seconds = refusal.retry_after_seconds();
                *status == reaction.reply(*status) && retry_after.is_none_or(|expected| expected.as_secs() == seconds)
            }
            (Self::Pass | Self::Denied | Self::Orders(_), Reaction::Verified | Reaction::Refused(_))
            | (Self::Verified, Reaction::Judged(_) | Reaction::Refused(_))
            | (Self::Refused { .. }, Reaction::Judged(_) | Reaction::Verified) => false,
        }
    }
}

/// Every order is one of those expected and the other way round, whatever their order.
fn all_match(expected: &[ExpectedOrder], judged: &Judged) -> bool {
    /// Finds an order for this one, moving others to another where that helps:
    /// one that says little may have taken what one that says more needs.
    fn place(
        index: usize,
        expected: &[ExpectedOrder],
        orders: &[Order],
        taken: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        (0..orders.len()).any(|order| {
            if tried[order] || !expected[index].fits(&orders[order]) {
                return false;
            }
            tried[order] = true;
            if taken[order].is_none_or(|other| place(other, expected, orders, taken, tried)) {
                taken[order] = Some(index);
                return true;
            }
            false
        })
    }
    let orders = &judged.orders;
    let mut taken = vec![None; orders.len()];
    let mut place = |index| place(index, expected, orders, &mut taken, &mut vec![false; orders.len()]);
    expected.len() == orders.len() && (0..expected.len()).all(&mut place)
}

impl ExpectedOrder {
    fn fits(&self, order: &Order) -> bool {
        let says = |expected: &Option<String>, came: &str| expected.as_ref().is_none_or(|expected| expected == came);
        let what = match (self.what, &order.enforced) {
            (Ordered::Wait(expected), Enforced::Wait { duration, .. }) => expected == *duration,
            (Ordered::Ban { duration: expected, network: wanted }, Enforced::Ban { duration, network, .. }) => {
                expected == *duration && wanted.is_none_or(|wanted| wanted == *network)
            }
            (Ordered::Spared, Enforced::Spared | Enforced::LogOnly { .. }) => true,
            (Ordered::Wait(_), Enforced::Ban { .. } | Enforced::Spared | Enforced::LogOnly { .. })
            | (Ordered::Ban { .. }, Enforced::Wait { .. } | Enforced::Spared | Enforced::LogOnly { .. })
            | (Ordered::Spared, Enforced::Wait { .. } | Enforced::Ban { .. }) => false,
        };
        what && says(&self.by, &order.policy)
            && says(&self.reason, order.reason.code())
            && says(&self.text, order.reason.text())
    }
}

impl KeptBytes {
    /// Whether that is what is kept.
    #[must_use]
    pub fn holds(&self, kept: Option<&StateBytes>) -> bool {
        match (self, kept) {
            (Self::Nothing, None) | (Self::Something, Some(_)) => true,
            (Self::Exactly(expected), Some(kept)) => expected == kept,
            (Self::Long(bytes), Some(kept)) => *bytes == kept.len(),
            (Self::Nothing, Some(_)) | (Self::Something | Self::Exactly(_) | Self::Long(_), None) => false,
        }
    }
}

/// Sums over a step's events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    sums: [u64; Sum::ALL.len()],
}

impl Tally {
    pub(super) fn add(&mut self, reaction: &Reaction) {
        match reaction {
            Reaction::Refused(_) => self.bump(Sum::Refused),
            Reaction::Verified => self.bump(Sum::Verified),
            Reaction::Judged(judged) => {
                self.bump(Sum::Checked);
                if judged.denied {
                    self.bump(Sum::Denied);
                } else if judged.orders.is_empty() {
                    self.bump(Sum::Passed);
                }
                for order in &judged.orders {
                    self.bump(match order.enforced {
                        Enforced::Wait { .. } => Sum::Waits,
                        Enforced::Ban { .. } => Sum::Bans,
                        Enforced::Spared | Enforced::LogOnly { .. } => Sum::Spared,
                    });
                }
            }
        }
    }

    fn bump(&mut self, sum: Sum) {
        self.sums[sum as usize] += 1;
    }

    pub(super) const fn get(&self, sum: Sum) -> u64 {
        self.sums[sum as usize]
    }

    /// Those that aren't zero.
    pub(super) fn list(&self) -> Vec<(Sum, u64)> {
        Sum::ALL.into_iter().map(|sum| (sum, self.get(sum))).filter(|(_, count)| *count > 0).collect()
    }
}
