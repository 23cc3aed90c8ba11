//! `/v1/events` and `/v1/journal`: what happened, a page at a time, as it
//! happens, or all of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use ipnet::IpNet;
use portcullis_domain::{Kind, Timestamp};
use portcullis_harness::journal::record::{Record, What};
use portcullis_harness::journal::{Place, Placed, Reader};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use crate::admin::api::{EventPage, JournalDetail, JournalSegment, JournalStatus, time};
use crate::admin::extract::{NoQuery, Query};
use crate::admin::page::{limit, network};
use crate::admin::problem::Problem;
use crate::config::parse_duration;
use crate::journal::{Followed, Following};
use crate::running::Running;

/// Records looked at for one page: a filter that few of many pass ends with a short page.
const LOOKED_AT_MAX: u64 = 500_000;
/// Pieces of an answer that are made ahead of a client that reads slowly.
const PIECES_AHEAD: usize = 4;
/// A piece is sent when it has so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// JSON, one object a line.
const NDJSON: &str = "application/x-ndjson";

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// How many at most; left out: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only those from this address or network, or about it.
    #[param(example = "203.0.113.0/24")]
    source: Option<String>,
    /// Only those of this client auth id.
    client: Option<String>,
    /// Only judgements of this policy.
    policy: Option<String>,
    /// Only those of this kind: `judged`, `unjudged`, `act`, `in-force` or `process`; or judgements of the policies
    /// of one kind: `wait`, `ban` or `scanner`.
    #[param(example = "act")]
    kind: Option<String>,
    /// Only those since then: a time as in 2026-11-22T14:16:34Z, or a duration before now such as 90s, 1h or 30d.
    #[param(example = "1h")]
    since: Option<String>,
}

/// Which events, of those that are yet to come.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowQuery {
    /// Only those from this address or network, or about it.
    #[param(example = "203.0.113.0/24")]
    source: Option<String>,
    /// Only those of this client auth id.
    client: Option<String>,
    /// Only judgements of this policy.
    policy: Option<String>,
    /// As for `/v1/events`.
    kind: Option<String>,
}

/// What a record has to be.
#[derive(Debug, Default)]
struct Wanted {
    source: Option<IpNet>,
    client: Option<String>,
    policy: Option<String>,
    kind: Option<Sort>,
    since: Timestamp,
}

/// What `kind` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Judged,
    JudgedBy(Kind),
    Unjudged,
    Act,
    InForce,
    Process,
}

impl Sort {
    const ALL: [(&str, Self); 8] = [
        ("judged", Self::Judged),
        ("wait", Self::JudgedBy(Kind::Wait)),
        ("ban", Self::JudgedBy(Kind::Ban)),
        ("scanner", Self::JudgedBy(Kind::Scanner)),
        ("unjudged", Self::Unjudged),
        ("act", Self::Act),
        ("in-force", Self::InForce),
        ("process", Self::Process),
    ];

    fn parse(text: &str) -> Result<Self, Problem> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, sort)| sort).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            Problem::bad_request(format!("kind={}: expected one of {}", shown(text), names.join(", ")))
        })
    }

    fn is(self, what: &What<'_>) -> bool {
        match (self, what) {
            (Self::JudgedBy(kind), What::Judged(judged)) => kind == judged.policy_kind.into(),
            (Self::Judged, What::Judged(_))
            | (Self::Unjudged, What::Unjudged(_))
            | (Self::Act, What::Act(_))
            | (Self::InForce, What::InForce(_))
            | (Self::Process, What::Process(_)) => true,
            (
                Self::JudgedBy(_) | Self::Judged | Self::Unjudged | Self::Act | Self::InForce | Self::Process,
                What::Judged(_) | What::Unjudged(_) | What::Act(_) | What::InForce(_) | What::Process(_),
            ) => false,
        }
    }
}

impl Wanted {
    fn new(
        running: &Running,
        source: Option<&str>,
        client: Option<String>,
        policy: Option<String>,
        kind: Option<&str>,
    ) -> Result<Self, Problem> {
        let prefix = running.gatekeeper.gate().ruleset().source.ipv6_prefix;
        let source = source.map(|text| network(text, prefix)).transpose()?;
        let kind = kind.map(Sort::parse).transpose()?;
        Ok(Self { source, client, policy, kind, since: Timestamp::default() })
    }

    fn is(&self, record: &Record<'_>) -> bool {
        let policy = match &record.what {
            What::Judged(judged) => Some(judged.policy),
            What::Act(act) => act.policy,
            What::Unjudged(_) | What::InForce(_) | What::Process(_) => None,
        };
        self.client.as_deref().is_none_or(|client| record.client() == Some(client))
            && self.policy.as_deref().is_none_or(|wanted| policy == Some(wanted))
            && self.kind.is_none_or(|kind| kind.is(&record.what))
            && self.source.is_none_or(|network| is_about(record, network))
    }
}

fn is_about(record: &Record<'_>, network: IpNet) -> bool {
    let of_act = match &record.what {
        What::Act(act) => act.about.as_ref().and_then(|about| about.subject.network()),
        What::Judged(_) | What::Unjudged(_) | What::InForce(_) | What::Process(_) => None,
    };
    record.source().is_some_and(|source| network.contains(&source))
        || of_act.is_some_and(|banned| banned.contains(&network) || network.contains(&banned))
}

/// What happened, the newest first
///
/// Every attempt and what each policy said of it; of requests what some policy didn't simply let pass; what was done
/// by hand; which policies came in force.
#[utoipa::path(get, path = "/v1/events", tag = "journal", params(EventsQuery), responses(
    (status = OK, body = EventPage, description = "A page of it"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A wrong query"),
))]
pub(super) async fn list(
    State(running): State<Arc<Running>>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventPage>, Problem> {
    let limit = limit(query.limit)?;
    let place = |cursor: String| {
        let wrong = |_| {
            Problem::bad_request(format!(
                "cursor={}: expected what `next` of the page before says, as it stands",
                shown(&cursor)
            ))
        };
        cursor.parse::<Place>().map_err(wrong)
    };
    let before = query.cursor.map(place).transpose()?;
    let mut wanted = Wanted::new(&running, query.source.as_deref(), query.client, query.policy, query.kind.as_deref())?;
    wanted.since = since(query.since.as_deref(), running.gatekeeper.gate().clock().now())?;
    let page = blocking(move || page(&running.journal.reader(), before, &wanted, limit)).await?;
    Ok(Json(page))
}

fn page(reader: &Reader, before: Option<Place>, wanted: &Wanted, limit: usize) -> EventPage {
    let (mut events, mut last, mut looked_at) = (Vec::new(), before, 0_u64);
    let mut more = false;
    reader.backward(before, |read, record| {
        // Threads write a little out of order, but not by a second.
        let too_old = record.time.0.as_millis().saturating_add(1000) < wanted.since.as_millis();
        if too_old || events.len() == limit || looked_at >= LOOKED_AT_MAX {
            more = !too_old;
            return ControlFlow::Break(());
        }
        looked_at += 1;
        last = Some(read.place);
        if record.time.0 >= wanted.since && wanted.is(record) {
            let placed = Placed { place: read.place, record };
            // Numbers and text: writing them can't fail.
            events.push(serde_json::to_value(placed).unwrap_or_default());
        }
        ControlFlow::Continue(())
    });
    EventPage { events, next: last.filter(|_| more).map(|place| place.to_string()) }
}

fn since(text: Option<&str>, now: Timestamp) -> Result<Timestamp, Problem> {
    let Some(text) = text else { return Ok(Timestamp::default()) };
    let ago = parse_duration(text).map(|ago| {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(ago))
    });
    let at = || {
        let at = text.parse::<jiff::Timestamp>().ok()?;
        Some(Timestamp::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default()))
    };
    ago.or_else(at).ok_or_else(|| {
        Problem::bad_request(format!(
            "since={}: expected a time as in 2026-11-22T14:16:34Z, or a duration before now such as 1h",
            shown(text)
        ))
    })
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What happens, from now on
///
/// A line of JSON for each event, as it is written: `{"kind":"missed","records":N}` stands where N are missing,
/// since the client didn't keep up. It goes on until one of both ends it.
#[utoipa::path(get, path = "/v1/events/follow", tag = "journal", params(FollowQuery), responses(
    (status = OK, body = String, content_type = "application/x-ndjson", description = "Line by line"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A wrong query"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json", description = "Too many follow already"),
))]
pub(super) async fn follow(
    State(running): State<Arc<Running>>,
    Query(query): Query<FollowQuery>,
) -> Result<Response, Problem> {
    let wanted = Wanted::new(&running, query.source.as_deref(), query.client, query.policy, query.kind.as_deref())?;
    let following = running
        .journal
        .subscribe()
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(error.to_string()))?;
    let lines = Lines { following, wanted, ready: VecDeque::new() };
    Ok(([(CONTENT_TYPE, NDJSON)], Body::new(lines)).into_response())
}

/// The events that somebody follows, as a body.
struct Lines {
    following: Following,
    wanted: Wanted,
    ready: VecDeque<Bytes>,
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(self.following.poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Followed::Missed(records)) => {
                    self.ready.push_back(Bytes::from(format!("{}\n", json!({"kind": "missed", "records": records}))));
                }
                Some(Followed::Frames(frames)) => {
                    let mut lines = Vec::new();
                    Reader::of_memory([(0, frames)]).forward(|_, record| {
                        if self.wanted.is(record) {
                            line(&mut lines, record);
                        }
                        ControlFlow::Continue(())
                    });
                    if !lines.is_empty() {
                        self.ready.push_back(lines.into());
                    }
                }
            }
        }
    }
}

fn line(lines: &mut Vec<u8>, record: &impl serde::Serialize) {
    // Numbers and text, into memory: writing them can't fail.
    if serde_json::to_writer(&mut *lines, record).is_ok() {
        lines.push(b'\n');
    }
}

/// The journal: where it is, how large, and how its writing does
#[utoipa::path(get, path = "/v1/journal", tag = "journal", responses(
    (status = OK, body = JournalDetail, description = "How it does"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
))]
pub(super) async fn journal(State(running): State<Arc<Running>>, _: NoQuery) -> Result<Json<JournalDetail>, Problem> {
    let detail = blocking(move || {
        let counts = running.journal.counts();
        let segment =
            |(name, bytes, began): (String, u64, Timestamp)| JournalSegment { name, bytes, began: time(began) };
        JournalDetail {
            journal: JournalStatus {
                dir: running.journal.folder().map(|folder| folder.display().to_string()),
                written: counts.written,
                dropped: counts.dropped,
                bytes: counts.bytes,
                failing: counts.failing,
            },
            segments: running.journal.segments().into_iter().map(segment).collect(),
        }
    });
    Ok(Json(detail.await?))
}

/// Everything in the journal, the oldest first
///
/// A line of JSON for each record, with its place.
#[utoipa::path(get, path = "/v1/journal/records", tag = "journal", responses(
    (status = OK, body = String, content_type = "application/x-ndjson", description = "Line by line"),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "A query parameter; there are none"),
))]
pub(super) async fn records(State(running): State<Arc<Running>>, _: NoQuery) -> Response {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut lines = Vec::with_capacity(2 * PIECE_BYTES);
        running.journal.reader().forward(|read, record| {
            line(&mut lines, &Placed { place: read.place, record });
            if lines.len() < PIECE_BYTES {
                return ControlFlow::Continue(());
            }
            match pieces.blocking_send(Bytes::from(std::mem::take(&mut lines))) {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody reads on.
                Err(_) => ControlFlow::Break(()),
            }
        });
        let _nobody_may_read_on = pieces.blocking_send(lines.into());
    });
    ([(CONTENT_TYPE, NDJSON)], Body::new(Pieces(receiver))).into_response()
}

/// Pieces that another thread makes, as a body.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Does what may wait for the disk where nobody else waits for it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR).detail("the journal couldn't be read"))
}
