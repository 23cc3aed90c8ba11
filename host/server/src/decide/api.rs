//! What goes over the wire, and the OpenAPI document that is made from it.
//!
//! Events are read by `portcullis_harness::logs`, for whom they are a log
//! format like others; a test holds that and this schema against each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{OpenApi as _, ToSchema};

/// Something that has happened. `source` is needed, and `status`, `outcome` or both: a request that was answered, a
/// login that ended, or a request that was a login too. Of one that succeeded the login alone is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// From where: an IPv4 or IPv6 address.
    #[schema(example = "203.0.113.7")]
    pub source: String,
    /// When: RFC 3339, or a number of seconds since 1970. Left out: now. It may be 24 h ago and, where clocks differ,
    /// an hour ahead, which is taken for now.
    #[schema(schema_with = moment)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<serde_json::Value>,
    /// The client auth id: of a login who it was said to be, of a request whom it named. Empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Whether such an id exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<bool>,
    /// How the login ended: `success` or `failure`. Empty: it was none.
    #[schema(schema_with = outcome)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The request's method; left out: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's path, with its query or without; the query is cut off. Left out: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The status of the reply, 100 to 999, as a number or in quotes. Empty quotes: none.
    #[schema(schema_with = status)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
    /// What policies may ask for, by name, such as `user-agent`; at most 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// What became of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// Events in it, as far as it was read.
    pub events: u64,
    /// Of these, judged by the policies; what they ordered is in force.
    pub judged: u64,
    /// Of these, not judged, since their source was banned already.
    pub banned: u64,
    /// Of these, no events: nothing came of them.
    pub rejected: u64,
    /// Why, of the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<LineError>,
    /// Why it wasn't read to its end, and how far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stopped: Option<String>,
}

/// A line that wasn't taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineError {
    /// Its number in the report, from 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub error: String,
}

fn moment() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
    let text =
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0));
    OneOfBuilder::new()
        .item(text)
        .item(number)
        .description(Some(
            "When: RFC 3339, or a number of seconds since 1970. Left out: now. It may be 24 h ago and, where clocks \
             differ, an hour ahead, which is taken for now.",
        ))
        .build()
        .into()
}

fn outcome() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["success", "failure", ""]))
        .description(Some("How the login ended. Empty: it was none."))
        .build()
}

fn status() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(100)).maximum(Some(999));
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^([1-9][0-9]{2})?$"));
    OneOfBuilder::new()
        .item(number)
        .item(text)
        .description(Some("The status of the reply, as a number or in quotes. Empty quotes: none."))
        .build()
        .into()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Portcullis for services behind another proxy",
        description = "What a proxy asks about requests that it holds, and reports of what came of them. Peers that \
                       aren't in decide.trusted are answered 403. DECIDE.md says which proxy asks how.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(check, auth_request, report)
)]
struct Document;

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// May this request pass?
///
/// By any method. A path after `/check` is the request's own (Envoy); then its method is, too.
#[expect(dead_code, reason = "it stands for a path of the document")]
#[utoipa::path(get, path = "/check",
    params(
        ("X-Forwarded-For" = String, Header, description = "Its last entry is the client's address"),
        ("X-Forwarded-Method" = Option<String>, Header, description = "The request's method"),
        ("X-Forwarded-Uri" = Option<String>, Header, description = "The request's path and query"),
        ("Authorization" = Option<String>, Header, description = "The request's own, for Basic credentials"),
    ),
    responses(
        (status = OK, description = "It may", headers(("X-Portcullis-Source" = String, description = "The client's address, as it was decided"))),
        (status = LOCKED, description = "The source is banned", headers(("Retry-After" = u64, description = "Seconds"))),
        (status = TOO_MANY_REQUESTS, description = "It is a login, and has to wait", headers(("Retry-After" = u64, description = "Seconds"))),
        (status = BAD_REQUEST, description = "No client is named, or credentials that can be read in more than one way"),
        (status = FORBIDDEN, description = "The peer isn't in decide.trusted"),
    ))]
const fn check() {}

/// The same for nginx's auth_request
///
/// Whatever isn't 200 is 403, with what it would have been in `X-Portcullis-Status`.
#[expect(dead_code, reason = "it stands for a path of the document")]
#[utoipa::path(get, path = "/auth_request",
    params(
        ("X-Real-IP" = String, Header, description = "The client's address"),
        ("X-Original-Method" = Option<String>, Header, description = "The request's method"),
        ("X-Original-URI" = Option<String>, Header, description = "The request's path and query"),
        ("Authorization" = Option<String>, Header, description = "The request's own, for Basic credentials"),
    ),
    responses(
        (status = OK, description = "It may", headers(("X-Portcullis-Source" = String, description = "The client's address, as it was decided"))),
        (status = FORBIDDEN, description = "It may not, or the peer isn't in decide.trusted", headers(
            ("X-Portcullis-Status" = u16, description = "What to answer: 423, 429 or 400; absent for a peer that isn't trusted"),
            ("Retry-After" = u64, description = "Seconds"),
        )),
    ))]
const fn auth_request() {}

/// What came of requests
///
/// One event as `application/json`, or one a line as `application/x-ndjson`: lines of at most 16 KiB, 10,000 events
/// and `decide.max_report` bytes in all, within 30 s. Lines are judged as they come; one that is no event is left out,
/// and the answer says which and why. When it is there, what was ordered is in force.
#[expect(dead_code, reason = "it stands for a path of the document")]
#[utoipa::path(post, path = "/report",
    request_body(content((Report = "application/json"), (Report = "application/x-ndjson"))),
    responses(
        (status = OK, body = Taken, description = "All of it was taken"),
        (status = BAD_REQUEST, body = Taken, description = "Lines were left out, or it broke off; the rest was taken"),
        (status = PAYLOAD_TOO_LARGE, body = Taken, description = "Too long or too many; what came before was taken"),
        (status = REQUEST_TIMEOUT, body = Taken, description = "Too slow; what came before was taken"),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "Neither of the two"),
        (status = FORBIDDEN, description = "The peer isn't in decide.trusted, or the report has an Origin"),
    ))]
const fn report() {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use portcullis_domain::Timestamp;
    use portcullis_harness::logs::read_report;

    #[test]
    fn the_schema_is_what_is_read() {
        let document = serde_json::to_value(openapi()).unwrap();
        let schema = &document["components"]["schemas"]["Report"];
        let fields: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(schema["required"], serde_json::json!(["source"]));
        assert_eq!(schema["additionalProperties"], false);
        let unknown = read_report(br#"{"x":1}"#, None).unwrap_err().to_string();
        let (_, known) = unknown.split_once("expected one of ").unwrap();
        let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
        assert_eq!(fields, known);

        let attributes = BTreeMap::from([("user-agent".to_owned(), "curl".to_owned())]);
        let whole = Report {
            source: "203.0.113.7".to_owned(),
            at: Some("2026-11-25T14:20:05Z".into()),
            client: Some("abc".to_owned()),
            known: Some(true),
            outcome: Some("failure".to_owned()),
            method: Some("POST".to_owned()),
            path: Some("/login".to_owned()),
            status: Some(401.into()),
            attributes: Some(attributes),
        };
        let line = serde_json::to_value(&whole).unwrap();
        assert_eq!(line.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>(), fields);
        read_report(line.to_string().as_bytes(), None).unwrap();
        // What stands for its fields in templates that have nothing to say.
        let empty = r#"{"source":"203.0.113.7","client":"","outcome":"","path":"","method":"","status":"200"}"#;
        read_report(empty.as_bytes(), Some(Timestamp::default())).unwrap();
    }
}
