//! A log as RPort writes it, made up but always the same for a seed: ordinary
//! traffic with scanners in between, in the proportions that RPort's
//! documentation tells of (16,900 lines of which 755 are scanners' 404s).

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines at scale 1.
pub const LINES: u64 = 16_900;
/// Scanners' 404 lines among them.
pub const SCANNER_LINES: u64 = 755;

/// What the log is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RportdLog {
    /// Times [`LINES`].
    pub scale: u64,
    /// Another seed, another log.
    pub seed: u64,
    /// Failed logins at scale 1, in the place of ordinary lines.
    pub failed_logins: u64,
}

impl Default for RportdLog {
    fn default() -> Self {
        Self { scale: 1, seed: 7, failed_logins: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Scanner,
    Guesser,
}

/// SplitMix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.next() % items.len() as u64).unwrap()]
    }

    fn addresses(&mut self, count: u64) -> Vec<String> {
        let mut octet = |low, high| self.between(low, high);
        (0..count).map(|_| format!("{}.{}.{}.{}", octet(1, 223), octet(0, 255), octet(0, 255), octet(1, 254))).collect()
    }
}

const PATHS: [&str; 10] = [
    "/.env",
    "/.git/HEAD",
    "/wp-admin/setup-config.php",
    "/phpMyAdmin/index.php",
    "/cgi-bin/test.cgi",
    "/server-status",
    "/manager/html",
    "/api/jsonws/invoke",
    "/favicon.ico",
    "/.well-known/security.txt",
];

impl RportdLog {
    /// Writes it, line by line in the order of time, up to six seconds apart.
    ///
    /// # Errors
    /// As the writer's.
    ///
    /// # Panics
    /// Never for a scale that fits into memory.
    pub fn write(&self, into: &mut impl Write) -> io::Result<()> {
        let chance = &mut Chance(self.seed);
        let (scanner_lines, guesser_lines) = (SCANNER_LINES * self.scale, self.failed_logins * self.scale);
        let mut kinds = vec![Kind::Ordinary; usize::try_from(LINES * self.scale).unwrap()];
        let (scanning, rest) = kinds.split_at_mut(usize::try_from(scanner_lines).unwrap());
        scanning.fill(Kind::Scanner);
        rest[..usize::try_from(guesser_lines).unwrap()].fill(Kind::Guesser);
        for last in (1..kinds.len()).rev() {
            kinds.swap(last, usize::try_from(chance.between(0, last as u64)).unwrap());
        }
        let (scanners, guessers) = (chance.addresses(90 * self.scale), chance.addresses(20 * self.scale));
        let clients: Vec<(String, String)> =
            chance.addresses(400).into_iter().map(|ip| (format!("client-{:06x}", chance.next() >> 40), ip)).collect();
        // 2021-03-01T00:00:00Z, in milliseconds.
        let mut now = 1_614_556_800_000;
        // Scanners come in bursts.
        let mut scanner = &scanners[0];
        for (number, kind) in kinds.into_iter().enumerate() {
            now += chance.of(&[200, 500, 1000, 1000, 2000, 3000, 6000]);
            write!(into, "{} ", stamp(now / 1000))?;
            match kind {
                Kind::Ordinary => ordinary(into, chance, number, &clients)?,
                Kind::Scanner => {
                    if chance.between(0, 99) < 35 {
                        scanner = chance.of(&scanners);
                    }
                    let (path, micros) = (chance.of(&PATHS), chance.between(20, 999));
                    writeln!(into, "info: client-listener: GET {path} 404 {micros}µs ({scanner})")?;
                }
                Kind::Guesser => {
                    let ((id, _), ip) = (chance.of(&clients), chance.of(&guessers));
                    writeln!(
                        into,
                        "info: client-listener: Failed login attempt for client auth id \"{id}\", forcing to wait for \
                         2s ({ip})"
                    )?;
                }
            }
        }
        into.flush()
    }
}

fn ordinary(into: &mut impl Write, chance: &mut Chance, number: usize, clients: &[(String, String)]) -> io::Result<()> {
    let (kind, (name, ip)) = (chance.between(0, 99), chance.of(clients));
    match kind {
        0..30 => writeln!(into, "info: client-listener: client#{number}: Open {name} ({ip})"),
        30..45 => writeln!(into, "info: client-listener: client#{number}: Close {name} [session {:x}]", chance.next()),
        45..60 => {
            let (millis, bytes) = (chance.between(1, 90), chance.between(200, 9000));
            writeln!(into, "info: api-listener: GET /api/v1/clients 200 {millis}ms {bytes}B ({ip})")
        }
        60..70 => writeln!(into, "info: client-listener: GET / 101 {}µs ({ip})", chance.between(100, 999)),
        70..80 => writeln!(into, "debug: client-listener: ping {name}: {}ms ok", chance.between(10, 4040)),
        80..90 => writeln!(into, "info: server: cleanup: {} obsolete clients of 400 deleted", chance.between(0, 9)),
        _ => {
            let port = chance.between(20_000, 30_000);
            writeln!(into, "info: client-listener: client#{number}: proxy#R:0.0.0.0:{port}=>localhost:22: Listening")
        }
    }
}

/// That moment as RPort writes it, in UTC.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn rportd_time(at: SystemTime) -> String {
    stamp(at.duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// `2021/03/01 00:00:00`, counted from the epoch (civil-from-days by Howard Hinnant).
fn stamp(second: u64) -> String {
    let (days, second) = (second / 86_400 + 719_468, second % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}/{month:02}/{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}
