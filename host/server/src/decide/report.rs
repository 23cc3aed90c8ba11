//! What proxies report: events that have happened, one JSON object or one a
//! line, judged as they come in (rule 39).

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use memchr::memchr;
use portcullis_domain::{Origin, Timestamp};
use portcullis_harness::logs::read_report;
use tokio::time::Instant;

use super::{Decider, LineError, Taken, said};
use crate::auth::IdCase;
use crate::gatekeeper::{Front, Gatekeeper, Sighted};
use crate::http::Body;

/// Longest line, and longest single event, in bytes.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// Events of one report.
pub const EVENTS_MAX: u64 = 10_000;
/// Lines that weren't taken of which the answer says why.
pub const ERRORS_MAX: usize = 20;

/// How long a report may take.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How long ago an event may have been.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far a reporter's clock may be ahead of ours: it is taken for now.
const AHEAD_MAX: Duration = Duration::from_secs(3600);
/// Events after which others on this worker have their turn.
const IN_A_ROW: u64 = 32;

/// How a report's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One,
    Lines,
}

impl Form {
    /// Media types that no web page can send to somewhere else unasked.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
        let is = |known: &[&str]| known.iter().any(|known| kind.eq_ignore_ascii_case(known));
        if is(&["application/json"]) {
            Some(Self::One)
        } else if is(&["application/x-ndjson", "application/ndjson", "application/jsonl"]) {
            Some(Self::Lines)
        } else {
            None
        }
    }
}

impl Decider {
    /// Takes a report. When the answer is there, what it led to is in force.
    pub(super) async fn report(&self, front: &Front, request: Request<Body>, by: IpAddr) -> Response<Body> {
        // No proxy has an origin: a web page that has our address under its own
        // name (DNS rebinding) may send what it likes, but not without this.
        if request.headers().contains_key(ORIGIN) {
            self.gatekeeper.counters().askers_untrusted.bump();
            self.gatekeeper.note_refused(by, StatusCode::FORBIDDEN, "report-by-a-web-page");
            let mut response = said(StatusCode::FORBIDDEN, "403 Forbidden: web pages don't report\n");
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        let Some(form) = Form::of(request.headers()) else {
            return said(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "415 Unsupported Media Type: application/json for one event, application/x-ndjson for one a line\n",
            );
        };
        let mut taking = Taking {
            gatekeeper: &self.gatekeeper,
            id_case: front.id_case(),
            by,
            form,
            bytes_max: front.asking.max_report,
            buffer: BytesMut::new(),
            too_long: false,
            line: 0,
            taken: Taken::default(),
            has_banned: false,
        };
        let stopped = taking.take(request.into_body()).await;
        let Taking { taken, has_banned, .. } = taking;
        if has_banned {
            self.gatekeeper.settled().await;
        }
        let counters = self.gatekeeper.counters();
        counters.reported_judged.add(taken.judged);
        counters.reported_banned.add(taken.banned);
        counters.reported_rejected.add(taken.rejected);
        answer(taken, stopped)
    }
}

/// Why a report wasn't read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    TooLarge,
    TooMany,
    TooSlow,
    BrokenOff,
}

impl Stop {
    const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }
}

/// A report that is being taken.
struct Taking<'a> {
    gatekeeper: &'a Gatekeeper,
    id_case: IdCase,
    by: IpAddr,
    form: Form,
    bytes_max: usize,
    /// What has come of a line so far.
    buffer: BytesMut,
    /// The rest of this line is passed over.
    too_long: bool,
    /// Lines that have come to their end.
    line: u64,
    taken: Taken,
    has_banned: bool,
}

impl Taking<'_> {
    async fn take(&mut self, mut body: Body) -> Option<Stop> {
        if body.size_hint().lower() > self.bytes_max as u64 {
            return self.stop(Stop::TooLarge);
        }
        let deadline = Instant::now() + TIME_MAX;
        let mut bytes = 0;
        loop {
            let data = match tokio::time::timeout_at(deadline, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) => return self.stop(Stop::BrokenOff),
                Err(_) => return self.stop(Stop::TooSlow),
            };
            bytes += data.len();
            if bytes > self.bytes_max {
                return self.stop(Stop::TooLarge);
            }
            match self.form {
                Form::One => self.add(&data),
                Form::Lines => {
                    if let Some(stop) = self.lines_of(data).await {
                        return self.stop(stop);
                    }
                }
            }
        }
        // The last line needs no newline.
        if self.too_long || !self.buffer.is_empty() {
            if self.taken.events == EVENTS_MAX {
                return self.stop(Stop::TooMany);
            }
            self.end_line();
        } else if self.form == Form::One {
            self.reject(1, "expected an event".to_owned());
        }
        None
    }

    async fn lines_of(&mut self, mut data: Bytes) -> Option<Stop> {
        while let Some(newline) = memchr(b'\n', &data) {
            let rest = data.split_off(newline);
            self.add(&data);
            data = rest;
            data.advance(1);
            if self.taken.events == EVENTS_MAX {
                return Some(Stop::TooMany);
            }
            let before = self.taken.events;
            self.end_line();
            if self.taken.events != before && self.taken.events.is_multiple_of(IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        self.add(&data);
        None
    }

    fn add(&mut self, data: &[u8]) {
        if self.too_long || self.buffer.len() + data.len() > LINE_BYTES_MAX {
            self.too_long = true;
            self.buffer.clear();
        } else {
            self.buffer.extend_from_slice(data);
        }
    }

    fn end_line(&mut self) {
        self.line += 1;
        let line = self.buffer.split();
        if std::mem::take(&mut self.too_long) {
            self.taken.events += 1;
            self.reject(self.line, format!("longer than {LINE_BYTES_MAX} bytes"));
        } else if !line.trim_ascii().is_empty() {
            self.taken.events += 1;
            if let Err(why) = self.judge(&line) {
                self.reject(self.line, why);
            }
        }
    }

    fn judge(&mut self, line: &[u8]) -> Result<(), String> {
        let now = self.gatekeeper.gate().clock().now();
        let entry = read_report(line, Some(now)).map_err(|error| error.to_string())?;
        in_time(entry.at, now)?;
        match self.gatekeeper.observe(&entry, Origin::Report { by: self.by }, self.id_case) {
            Sighted::Judged { banned } => {
                self.taken.judged += 1;
                self.has_banned |= banned;
            }
            Sighted::Banned => self.taken.banned += 1,
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, error: String) {
        self.taken.rejected += 1;
        if self.taken.errors.len() < ERRORS_MAX {
            self.taken.errors.push(LineError { line, error });
        }
    }

    fn stop(&mut self, stop: Stop) -> Option<Stop> {
        let after = self.line;
        self.taken.stopped = Some(match stop {
            Stop::TooLarge => format!("longer than {} bytes: nothing after line {after} was taken", self.bytes_max),
            Stop::TooMany => format!("more than {EVENTS_MAX} events: nothing after line {after} was taken"),
            Stop::TooSlow => format!("longer than {} s: nothing after line {after} was taken", TIME_MAX.as_secs()),
            Stop::BrokenOff => format!("the body broke off: nothing after line {after} was taken"),
        });
        Some(stop)
    }
}

fn in_time(at: Timestamp, now: Timestamp) -> Result<(), String> {
    if now.since(at) > AGE_MAX {
        return Err(format!("at: more than {} h ago by the server's clock", AGE_MAX.as_secs() / 3600));
    }
    if at.since(now) > AHEAD_MAX {
        return Err(format!("at: more than {} min ahead of the server's clock", AHEAD_MAX.as_secs() / 60));
    }
    Ok(())
}

fn answer(taken: Taken, stopped: Option<Stop>) -> Response<Body> {
    let status = match stopped {
        Some(stop) => stop.status(),
        None if taken.rejected > 0 => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let mut json = serde_json::to_vec(&taken).unwrap_or_default();
    json.push(b'\n');
    let mut response = Response::new(Body::from(Bytes::from(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if stopped.is_some() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
