//! The short replies that the host gives by itself (rule 24): text, or JSON
//! where the client prefers it. It must not know policies, nor why it refuses:
//! what isn't here can't leak.

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::Body;

/// What the host says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200, of the built-in answer.
    Ok,
    /// 308, to https.
    PermanentRedirect,
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    RequestTimeout,
    /// 413.
    ContentTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 421: not for this connection, or not for this server.
    MisdirectedRequest,
    /// 423: a banned source.
    Locked,
    /// 429: a waiting client auth id, or too many attempts at once.
    TooManyRequests,
    /// 502.
    BadGateway,
    /// 503.
    ServiceUnavailable,
    /// 504.
    GatewayTimeout,
}

impl Status {
    /// As a status code.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
            Self::Locked => StatusCode::LOCKED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("200 OK\n", "{\"status\":200,\"message\":\"OK\"}\n"),
            Self::PermanentRedirect => {
                ("308 Permanent Redirect\n", "{\"status\":308,\"message\":\"Permanent Redirect\"}\n")
            }
            Self::BadRequest => ("400 Bad Request\n", "{\"status\":400,\"error\":\"Bad Request\"}\n"),
            Self::Unauthorized => ("401 Unauthorized\n", "{\"status\":401,\"error\":\"Unauthorized\"}\n"),
            Self::NotFound => ("404 Not Found\n", "{\"status\":404,\"error\":\"Not Found\"}\n"),
            Self::MethodNotAllowed => {
                ("405 Method Not Allowed\n", "{\"status\":405,\"error\":\"Method Not Allowed\"}\n")
            }
            Self::RequestTimeout => ("408 Request Timeout\n", "{\"status\":408,\"error\":\"Request Timeout\"}\n"),
            Self::ContentTooLarge => ("413 Content Too Large\n", "{\"status\":413,\"error\":\"Content Too Large\"}\n"),
            Self::UnsupportedMediaType => {
                ("415 Unsupported Media Type\n", "{\"status\":415,\"error\":\"Unsupported Media Type\"}\n")
            }
            Self::MisdirectedRequest => {
                ("421 Misdirected Request\n", "{\"status\":421,\"error\":\"Misdirected Request\"}\n")
            }
            Self::Locked => ("423 Locked\n", "{\"status\":423,\"error\":\"Locked\"}\n"),
            Self::TooManyRequests => ("429 Too Many Requests\n", "{\"status\":429,\"error\":\"Too Many Requests\"}\n"),
            Self::BadGateway => ("502 Bad Gateway\n", "{\"status\":502,\"error\":\"Bad Gateway\"}\n"),
            Self::ServiceUnavailable => {
                ("503 Service Unavailable\n", "{\"status\":503,\"error\":\"Service Unavailable\"}\n")
            }
            Self::GatewayTimeout => ("504 Gateway Timeout\n", "{\"status\":504,\"error\":\"Gateway Timeout\"}\n"),
        }
    }
}

/// In which form a request wants its reply; kept aside because the request
/// itself may be gone by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    json: bool,
    head: bool,
}

impl Form {
    /// The form that a request's method and Accept ask for.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let json = headers.contains_key(ACCEPT) && prefers_json(headers);
        Self { json, head: *method == Method::HEAD }
    }
}

/// JSON is preferred if it is named and nothing textual or general is named
/// with more weight, or with the same weight before it.
fn prefers_json(headers: &HeaderMap) -> bool {
    let mut best: Option<(u16, bool)> = None;
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for entry in values.flat_map(|value| value.split(',')).take(32) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="))).map_or(1000, weight);
        let json = media == "application/json" || media.starts_with("application/") && media.ends_with("+json");
        let other = media == "*/*" || media.starts_with("text/");
        if weight > 0 && (json || other) && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, json));
        }
    }
    best.is_some_and(|(_, json)| json)
}

/// A weight in thousandths; one that makes no sense weighs nothing.
fn weight(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    match (whole, fraction.len()) {
        ("1", _) if fraction.bytes().all(|digit| digit == b'0') => 1000,
        ("0", 0..=3) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// A short reply in the making.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reply {
    status: Status,
    retry_after_seconds: Option<u64>,
    challenge: Option<HeaderValue>,
    json: Option<Bytes>,
    close: bool,
}

impl Reply {
    /// A reply of this status.
    pub const fn new(status: Status) -> Self {
        Self { status, retry_after_seconds: None, challenge: None, json: None, close: false }
    }

    /// Says when to come again, in whole seconds.
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Says how to authenticate.
    pub fn www_authenticate(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Answers with this JSON whatever the client prefers: the built-in answer.
    pub fn json(mut self, json: impl Into<Bytes>) -> Self {
        self.json = Some(json.into());
        self
    }

    /// Closes the connection after the reply.
    pub const fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The reply itself.
    #[must_use]
    pub fn into_response(self, form: Form) -> Response<Body> {
        let (text, json) = self.status.text();
        let (content_type, bytes) = match self.json {
            Some(json) => ("application/json", json),
            None if form.json => ("application/json", Bytes::from_static(json.as_bytes())),
            None => ("text/plain; charset=utf-8", Bytes::from_static(text.as_bytes())),
        };
        let length = bytes.len();
        let mut response = Response::new(if form.head { Body::empty() } else { bytes.into() });
        *response.status_mut() = self.status.code();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if form.head {
            // Elsewhere the body itself says it.
            headers.insert(CONTENT_LENGTH, length.into());
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.status == Status::MethodNotAllowed {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_for(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        Form::of(&Method::GET, &headers).json
    }

    #[test]
    fn json_is_given_to_those_who_prefer_it() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("application/problem+json", true),
            ("text/html, application/json;q=0.9", false),
            ("text/html;q=0.5, application/json;q=0.9", true),
            ("*/*", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json;q=0", false),
            ("application/json;q=0.0", false),
            ("application/json;q=7", false),
            ("APPLICATION/JSON", true),
            ("", false),
            ("image/png", false),
        ] {
            assert_eq!(json_for(accept), json, "{accept}");
        }
        assert!(!Form::of(&Method::GET, &HeaderMap::new()).json);
    }

    #[test]
    fn a_reply_to_head_has_the_length_but_not_the_body() {
        let form = Form::of(&Method::HEAD, &HeaderMap::new());
        let response = Reply::new(Status::Locked).retry_after(30).into_response(form);
        assert!(response.body().is_empty());
        assert_eq!(response.headers()[CONTENT_LENGTH], "11");
        assert_eq!(response.headers()[RETRY_AFTER], "30");
    }

    #[test]
    fn every_text_says_its_own_status() {
        use Status::*;
        for status in [
            Ok,
            PermanentRedirect,
            BadRequest,
            Unauthorized,
            NotFound,
            MethodNotAllowed,
            RequestTimeout,
            ContentTooLarge,
            UnsupportedMediaType,
            MisdirectedRequest,
            Locked,
            TooManyRequests,
            BadGateway,
            ServiceUnavailable,
            GatewayTimeout,
        ] {
            let (text, json) = status.text();
            assert!(text.starts_with(status.code().as_str()), "{text}");
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(json["status"], status.code().as_u16());
        }
    }
}
