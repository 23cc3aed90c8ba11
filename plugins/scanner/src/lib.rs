//! Bans a source that draws too many answers of certain statuses within a time
//! window, as scanners for well-known holes do.
//!
//! The window slides: a hit at t and one at exactly t + `findtime` both count, one
//! later doesn't. A ban needs `maxretry` hits, so the last `maxretry` - 1 are kept.

use portcullis_sdk::scanner::*;

/// Keeps the state of one source below 1 KiB: 4 bytes, and 8 for each hit.
const MAXRETRY_MAX: u32 = 100;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// HTTP statuses that count as a hit; an empty list turns the policy off.
    #[setting(default = [404], check = http_statuses)]
    pub statuses: Vec<u16>,
    /// Hits within `findtime` that ban the source, at most 100; 0 turns the policy off.
    #[setting(default = 2, check = within_bound)]
    pub maxretry: u32,
    /// Seconds between the first and the last hit at most, fractions count.
    #[setting(default = 20.0)]
    pub findtime: Seconds,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 3600.0)]
    pub bantime: Seconds,
    /// Paths that are no hits, without query: `/favicon.ico` is that path alone, `/icons/*` every path that starts with `/icons/`.
    #[setting(default = [], check = path_patterns)]
    pub ignore_paths: Vec<String>,
}

impl Settings {
    fn off(&self) -> bool {
        self.maxretry == 0 || self.bantime.is_zero() || self.statuses.is_empty()
    }

    fn ignores(&self, path: &str) -> bool {
        self.ignore_paths.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        })
    }

    /// An authenticated client's requests never count: a known client that asks for
    /// what isn't there is no scanner.
    fn is_hit(&self, request: &Request) -> bool {
        self.statuses.contains(&request.status) && !request.authenticated() && !self.ignores(&request.path)
    }
}

fn http_statuses(statuses: &[u16]) -> Result<(), String> {
    if statuses.iter().all(|status| (100..600).contains(status)) {
        return Ok(());
    }
    Err("HTTP statuses from 100 to 599".to_owned())
}

fn within_bound(maxretry: &u32) -> Result<(), String> {
    if *maxretry <= MAXRETRY_MAX {
        return Ok(());
    }
    Err(text::joined(&["at most ", &text::integer(MAXRETRY_MAX.into())]))
}

fn path_patterns(patterns: &[String]) -> Result<(), String> {
    let well_formed = |pattern: &String| {
        let path = pattern.strip_suffix('*').unwrap_or(pattern).as_bytes();
        path.first() == Some(&b'/') && !path.iter().any(|byte| matches!(byte, b'*' | b'?'))
    };
    if patterns.iter().all(well_formed) {
        return Ok(());
    }
    Err("paths that start with / and have no query, with no * but at their end".to_owned())
}

/// What is kept for a source.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "hits-in-window/1")]
pub struct Hits {
    /// When they came, in milliseconds since the Unix epoch, oldest first.
    pub at_ms: Vec<u64>,
}

/// Judges one request.
pub fn judge(settings: &Settings, request: &Request, hits: &mut Option<Hits>) -> Verdict {
    if settings.off() {
        *hits = None;
        return pass();
    }
    if !settings.is_hit(request) {
        return pass();
    }
    let findtime_ms = settings.findtime.as_ms();
    let mut at_ms = hits.take().map_or_else(Vec::new, |kept| kept.at_ms);
    at_ms.retain(|hit| request.at_ms.saturating_sub(*hit) <= findtime_ms);
    at_ms.push(request.at_ms);
    let (count, limit) = (at_ms.len(), settings.maxretry);
    if u32::try_from(count).is_ok_and(|count| count < limit) {
        *hits = Some(Hits { at_ms });
        // A hit at exactly `findtime` must still find this one, whether or not a host
        // counts the last millisecond in.
        return pass().keep_for(settings.findtime.duration() + Duration::from_millis(1));
    }
    let limit = text::integer(limit.into());
    let window = settings.findtime.text();
    ban(settings.bantime).because("scanner", text::joined(&[&limit, " hits within ", &window, "."]))
}

export!(name = "scanner", judge);

#[cfg(test)]
mod tests;
