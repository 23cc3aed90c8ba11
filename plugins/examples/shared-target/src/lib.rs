//! Bans the sources that try one client auth id together, each too seldom to be noticed
//! alone; whoever got in before is spared.
//!
//! It goes by the id: configure it with `subject = "id"`.
//!
//! - Sources are told apart by the first `ipv4_bits` or `ipv6_bits` of their address.
//!   What follows holds for such networks, and a ban hits the whole network.
//! - Once `max_sources` different ones failed for the id within `findtime`, the last of
//!   them is banned, and from then on every one at its failure, as long as it and
//!   `max_sources` - 1 others failed within `findtime`. Those that came before it are
//!   banned when they fail again. The window slides by the last failure of each source: a
//!   failure at t and one at exactly t + `findtime` are within it, one a millisecond later
//!   isn't.
//! - A source that succeeded for the id is remembered for `remember`, at exactly its end
//!   still, and each success renews that. Its failures from then on neither count nor ban
//!   it; one from before the success goes on being one of the many. So the
//!   owner of an id under attack is never banned where they logged in before, however
//!   often they mistype; from anywhere else they get in with the right secret, as long as
//!   no other policy is in the way, and are remembered from then on.
//! - Only who knows the secret is remembered, so no stranger can push the owner out: the
//!   16 sources that succeeded last are kept.
//! - An attack goes on being one: a ban doesn't take the list with it.
//! - Attempts without an id aren't looked at.
//!
//! Who is spared is spared by this policy only: keep a `ban` policy beside it. And mind
//! that a `wait` policy that goes by the id lets strangers hold up the owner: see the
//! example `pair-wait`.

use portcullis_sdk::ban::*;
use std::net::IpAddr;

/// Keeps the state of one id below 1 KiB, together with `REMEMBERED_MAX`: 16 bytes, and
/// 16 for each source.
const SOURCES_MAX: u32 = 40;
const REMEMBERED_MAX: usize = 16;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Different sources that failed for one id within `findtime` and make it an attack, at most 40; 0 turns the policy off.
    #[setting(default = 10, check = within_bound)]
    pub max_sources: u32,
    /// Seconds between the failures of the first and the last of them at most, fractions count.
    #[setting(default = 3600.0)]
    pub findtime: Seconds,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
    /// Seconds since its last success for the id that a source is spared; 0 spares none.
    #[setting(default = 2592000.0)]
    pub remember: Seconds,
    /// Bits of an IPv4 address that tell sources apart and that a ban hits, 16 to 32.
    #[setting(default = 32, check = bits_v4)]
    pub ipv4_bits: u16,
    /// Bits of an IPv6 address that tell sources apart and that a ban hits, 32 to 64.
    #[setting(default = 64, check = bits_v6)]
    pub ipv6_bits: u16,
}

fn within_bound(sources: &u32) -> Result<(), String> {
    if *sources <= SOURCES_MAX { Ok(()) } else { Err(format!("at most {SOURCES_MAX}")) }
}

fn bits_v4(bits: &u16) -> Result<(), String> {
    if (16..=32).contains(bits) { Ok(()) } else { Err("16 to 32".to_owned()) }
}

fn bits_v6(bits: &u16) -> Result<(), String> {
    if (32..=64).contains(bits) { Ok(()) } else { Err("32 to 64".to_owned()) }
}

impl Settings {
    fn off(&self) -> bool {
        self.max_sources == 0 || self.ban_time.is_zero()
    }

    /// The source's network as a number, and its bits. No public IPv6 network has the
    /// number of an IPv4 one: those begin with 16 bits of zero.
    fn network(&self, source: IpAddr) -> (u64, u8) {
        let (bits_all, number, bits) = match source {
            IpAddr::V4(v4) => (32, 0xffff_0000_0000 | u64::from(v4.to_bits()), self.ipv4_bits),
            IpAddr::V6(v6) => (64, u64::try_from(v6.to_bits() >> 64).unwrap_or_default(), self.ipv6_bits),
        };
        let cut = bits_all - bits.min(bits_all);
        (number >> cut << cut, u8::try_from(bits).unwrap_or(u8::MAX))
    }
}

/// What is kept for an id.
#[derive(Clone, Debug, Default, PartialEq, State)]
#[state(format = "sources-of-an-id/1")]
pub struct Sources {
    /// Of the id's bytes: finds out a policy that doesn't go by the id.
    pub id_hash: u64,
    /// Each that failed, the last one at the end; no more than make it an attack.
    pub failed: Vec<Source>,
    /// Each that succeeded, the last one at the end.
    pub succeeded: Vec<Source>,
}

/// A source, and when it was that it failed or succeeded last.
#[derive(Clone, Debug, PartialEq, State)]
#[state(part)]
pub struct Source {
    /// The network as a number.
    pub network: u64,
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// FNV-1a of 64 bits.
fn hash(id: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    id.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, kept: &mut Option<Sources>) -> Verdict {
    if settings.off() {
        *kept = None;
        return pass();
    }
    let Some(id) = &attempt.client_auth_id else { return pass() };
    let id_hash = hash(id);
    if kept.as_ref().is_some_and(|sources| sources.id_hash != id_hash) {
        log::warn("this policy goes by the id: configure it with subject = \"id\"");
        *kept = None;
    }
    let (network, bits) = settings.network(attempt.source);
    let at_ms = attempt.at_ms;
    let spared = |source: &Source| at_ms.saturating_sub(source.at_ms) <= settings.remember.as_ms();
    let mut sources = kept.take().unwrap_or_else(|| Sources { id_hash, ..Sources::default() });
    if attempt.succeeded() {
        if settings.remember.is_zero() {
            sources.succeeded.clear();
        } else {
            touch(&mut sources.succeeded, network, at_ms, REMEMBERED_MAX, spared);
        }
        return keep(settings, at_ms, pass(), sources, kept);
    }
    let spares = !settings.remember.is_zero();
    if spares && sources.succeeded.iter().any(|source| source.network == network && spared(source)) {
        *kept = Some(sources);
        return pass();
    }
    let attack = usize::try_from(settings.max_sources).unwrap_or(usize::MAX);
    let findtime_ms = settings.findtime.as_ms();
    let within = |source: &Source| at_ms.saturating_sub(source.at_ms) <= findtime_ms;
    touch(&mut sources.failed, network, at_ms, attack, within);
    let count = sources.failed.len();
    if count < attack {
        return keep(settings, at_ms, pass(), sources, kept);
    }
    let findtime = settings.findtime;
    let text = format!("{count} sources failed for one id within {findtime}.");
    let verdict = ban(settings.ban_time).network(bits).because("shared-target", text);
    keep(settings, at_ms, verdict, sources, kept)
}

/// Puts the source at the end of the list and drops what doesn't count any longer; of
/// too many the first goes.
fn touch(list: &mut Vec<Source>, network: u64, at_ms: u64, max: usize, counts: impl Fn(&Source) -> bool) {
    list.retain(|source| source.network != network && counts(source));
    list.push(Source { network, at_ms });
    let surplus = list.len().saturating_sub(max);
    list.drain(..surplus);
}

/// For as long as anything of it counts.
fn keep(settings: &Settings, at_ms: u64, verdict: Verdict, sources: Sources, kept: &mut Option<Sources>) -> Verdict {
    // At the very end it still counts.
    let end_ms = |list: &[Source], time: Seconds| {
        list.last().map(|last| last.at_ms.saturating_add(time.as_ms()).saturating_add(1))
    };
    let end_ms = end_ms(&sources.failed, settings.findtime).max(end_ms(&sources.succeeded, settings.remember));
    let Some(end_ms) = end_ms else {
        *kept = None;
        return verdict;
    };
    *kept = Some(sources);
    verdict.keep_for(Duration::from_millis(end_ms.saturating_sub(at_ms)))
}

export!(name = "shared-target", judge);

#[cfg(test)]
mod tests;
