//! What a request brings along, read strictly: whatever isn't known is said
//! with what would be right, and nothing is taken without a bound.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Longest body that is read.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest query that is read.
const QUERY_BYTES_MAX: usize = 8 << 10;
/// How long a body may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The query, with every parameter known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(Problem::bad_request(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
        }
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection| Problem::bad_request(inner(&rejection)))
    }
}

/// No query at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(_) => Err(Problem::bad_request("there are no query parameters here")),
        }
    }
}

/// One part of the path.
#[derive(Clone, Debug)]
pub(super) struct PathPart<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathPart<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| Problem::bad_request(inner(&rejection)))
    }
}

/// A JSON body, with every field known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Err(problem.detail("the body has to be JSON, with Content-Type: application/json"));
        }
        let bytes = read(request.into_body()).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("the body isn't what it should be: {error}")))
    }
}

/// A JSON body, with every field known, or none: then what is usual.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonOrNothing<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if http_body::Body::is_end_stream(request.body()) {
            return Ok(Self(T::default()));
        }
        let Json(value) = Json::<Option<T>>::from_request(request, state).await?;
        Ok(Self(value.unwrap_or_default()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<bytes::Bytes, Problem> {
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail(format!("the body is longer than {BODY_BYTES_MAX} bytes"))
    };
    if http_body::Body::size_hint(&body).lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_TIME_MAX, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("the body broke off")),
        Err(_) => {
            let seconds = BODY_TIME_MAX.as_secs();
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT).detail(format!("the body took longer than {seconds} s")))
        }
    }
}

/// Whether it was the bound that ended the reading, and not the other side.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<hyper::Error>() {
            return false;
        }
        source = error.source();
    }
    true
}

/// An error's own words, without those around it that only say where.
fn inner(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
