//! Orders counted by policy and reason code, in a bounded number of kinds: what
//! policies are called and which codes they give isn't ours to trust.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use parking_lot::RwLock;
use portcullis_domain::{Enforced, Kind, Order};

use super::Counter;

/// Codes of one policy that are told apart; the rest is counted as [`OTHER`].
pub const CODES_MAX: usize = 16;
/// Policies that are told apart, those of earlier configurations included.
pub const POLICIES_MAX: usize = 64;
/// Codes, and policies, for which there is no room.
pub const OTHER: &str = "other";

/// Counts orders. Known kinds cost a look under a lock that only readers share.
#[derive(Debug, Default)]
pub struct Orders(RwLock<BTreeMap<Arc<str>, OfPolicy>>);

#[derive(Debug)]
struct OfPolicy {
    kind: Kind,
    codes: BTreeMap<Box<str>, [Counter; Fate::ALL.len()]>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in force.
    Enforced,
    /// The source is never banned.
    Spared,
    /// The policy was over its cap of bans.
    LogOnly,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enforced, Self::Spared, Self::LogOnly];

    /// Short and stable: a label for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Spared => "spared",
            Self::LogOnly => "log-only",
        }
    }

    /// Of what became of an order.
    #[must_use]
    pub const fn of(enforced: &Enforced) -> Self {
        match enforced {
            Enforced::Wait { .. } | Enforced::Ban { .. } => Self::Enforced,
            Enforced::Spared => Self::Spared,
            Enforced::LogOnly { .. } => Self::LogOnly,
        }
    }
}

/// How often a policy gave an order with that code, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The policy's name, or [`OTHER`].
    pub policy: Arc<str>,
    /// Its kind when it was first counted.
    pub kind: Kind,
    /// The reason's code, or [`OTHER`].
    pub code: Box<str>,
    /// What became of these.
    pub fate: Fate,
    /// How many.
    pub count: u64,
}

impl Orders {
    /// One more.
    pub fn count(&self, order: &Order) {
        self.add(&order.policy, order.kind, order.reason.code(), Fate::of(&order.enforced));
    }

    fn add(&self, policy: &Arc<str>, kind: Kind, code: &str, fate: Fate) {
        let known = self.0.read();
        if let Some(counters) = known.get(policy).and_then(|policy| policy.codes.get(code)) {
            return counters[fate as usize].bump();
        }
        drop(known);
        let mut policies = self.0.write();
        let full = policies.len() >= POLICIES_MAX;
        let of_policy = match policies.entry(Arc::clone(policy)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if !full => new.insert(OfPolicy { kind, codes: BTreeMap::new() }),
            Entry::Vacant(_) => {
                policies.entry(OTHER.into()).or_insert_with(|| OfPolicy { kind, codes: BTreeMap::new() })
            }
        };
        let full = of_policy.codes.len() >= CODES_MAX;
        let code = if full && !of_policy.codes.contains_key(code) { OTHER } else { code };
        of_policy.codes.entry(code.into()).or_default()[fate as usize].bump();
    }

    /// All that were counted at least once.
    #[must_use]
    pub fn counted(&self) -> Vec<Counted> {
        let policies = self.0.read();
        let mut all = Vec::new();
        for (policy, of_policy) in &*policies {
            for (code, counters) in &of_policy.codes {
                let fates = Fate::ALL.into_iter().zip(counters).map(|(fate, counter)| Counted {
                    policy: Arc::clone(policy),
                    kind: of_policy.kind,
                    code: code.clone(),
                    fate,
                    count: counter.get(),
                });
                all.extend(fates.filter(|counted| counted.count > 0));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(orders: &Orders) -> Vec<(String, String, u64)> {
        let all = orders.counted().into_iter();
        all.map(|one| (one.policy.to_string(), one.code.to_string(), one.count)).collect()
    }

    #[test]
    fn orders_are_counted_by_policy_code_and_fate() {
        let orders = Orders::default();
        let ban: Arc<str> = "ban".into();
        for (code, fate) in [("many", Fate::Enforced), ("many", Fate::Spared), ("many", Fate::Enforced)] {
            orders.add(&ban, Kind::Ban, code, fate);
        }
        let seen: Vec<_> = orders.counted().into_iter().map(|one| (one.fate, one.count)).collect();
        assert_eq!(seen, [(Fate::Enforced, 2), (Fate::Spared, 1)]);
    }

    #[test]
    fn so_many_codes_and_policies_are_told_apart_and_the_rest_is_other() {
        let orders = Orders::default();
        for policy in 0..2 * POLICIES_MAX {
            let name: Arc<str> = format!("policy-{policy:03}").into();
            for code in 0..2 * CODES_MAX {
                orders.add(&name, Kind::Ban, &format!("code-{code}"), Fate::Enforced);
            }
        }
        let seen = counted(&orders);
        assert!(seen.len() <= (POLICIES_MAX + 1) * (CODES_MAX + 1), "{}", seen.len());
        let sum = |policy: &str| seen.iter().filter(|one| one.0 == policy).map(|one| one.2).sum::<u64>();
        assert_eq!(sum("policy-000"), 32, "none is lost");
        assert!(seen.contains(&("policy-000".into(), OTHER.into(), 16)));
        assert_eq!(sum(OTHER), 64 * 32);
    }
}
