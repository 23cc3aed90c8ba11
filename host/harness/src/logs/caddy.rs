//! Caddy's access log as it writes it unless told otherwise: a JSON object a line.

use std::borrow::Cow;

use portcullis_domain::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{address, is_method, without_query};
use super::time::plausible;
use super::{Answered, Entry, Parsed, Text, What};

/// What is read of a line; the rest is left alone.
#[derive(Deserialize)]
struct Fields<'l> {
    /// Seconds since 1970, as Caddy writes it unless `time_format` says otherwise.
    ts: f64,
    #[serde(borrow)]
    request: Option<Request<'l>>,
    #[serde(borrow)]
    user_id: Option<Cow<'l, str>>,
    status: Option<u16>,
}

#[derive(Deserialize)]
struct Request<'l> {
    /// The client behind trusted proxies, since Caddy 2.7.
    #[serde(borrow)]
    client_ip: Option<Cow<'l, str>>,
    /// The TCP peer.
    #[serde(borrow)]
    remote_ip: Option<Cow<'l, str>>,
    #[serde(borrow)]
    method: Cow<'l, str>,
    #[serde(borrow)]
    uri: Cow<'l, str>,
    #[serde(default, borrow)]
    headers: Headers<'l>,
}

/// Of a secret Caddy writes that it was there, and not what it was.
#[derive(Default, Deserialize)]
struct Headers<'l> {
    #[serde(rename = "Authorization")]
    authorization: Option<IgnoredAny>,
    #[serde(borrow, rename = "User-Agent")]
    user_agent: Option<Vec<Cow<'l, str>>>,
    #[serde(borrow, rename = "Referer")]
    referer: Option<Vec<Cow<'l, str>>>,
}

/// One line: a request, and with a 401 in answer to credentials a failed login
/// too, of nobody in particular unless Caddy itself had checked them.
pub(super) fn parse(line: &[u8]) -> Parsed<'_> {
    if line.first() != Some(&b'{') {
        return Parsed::Unknown;
    }
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(line) else { return Parsed::Unknown };
    // Another logger's line.
    let (Some(request), Some(status)) = (fields.request, fields.status) else { return Parsed::Other };
    let from = request.client_ip.or(request.remote_ip).and_then(|ip| address(ip.as_bytes()));
    let (Some(from), Some(at)) = (from, moment(fields.ts)) else { return Parsed::Unknown };
    // Nothing was answered: the client had gone.
    if !(100..=999).contains(&status) || !is_method(request.method.as_bytes()) {
        return Parsed::Other;
    }
    let path = match request.uri {
        Cow::Borrowed(uri) => Text::plain(without_query(uri.as_bytes())),
        Cow::Owned(uri) => Text::of(Cow::Owned(String::from_utf8_lossy(without_query(uri.as_bytes())).into_owned())),
    };
    let answered = Answered {
        referer: request.headers.referer.and_then(|values| values.into_iter().next()).map(Text::of),
        user_agent: request.headers.user_agent.and_then(|values| values.into_iter().next()).map(Text::of),
        // Caddy names a user only once it has checked who it is.
        vouched: true,
        ..Answered::new(Text::of(request.method), path, status)
    };
    let client = fields.user_id.filter(|user| !user.is_empty()).map(Text::of);
    let showed_secret = client.is_some() || request.headers.authorization.is_some();
    let what = if status == 401 && showed_secret { What::FailedRequest(answered) } else { What::Request(answered) };
    Parsed::Entry(Entry { at, from, client, what, offence: matches!(status, 401 | 404), facts: None })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds, as looked at")]
fn moment(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).floor();
    (0.0..1e15).contains(&millis).then_some(millis as u64).and_then(plausible)
}
