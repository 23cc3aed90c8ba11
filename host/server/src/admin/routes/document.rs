//! What the OpenAPI document says beside the paths: who may ask, and what a
//! stranger over TCP is answered.

use http::StatusCode;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::admin::problem::{PROBLEM_JSON, Problem};

/// The name of the token's scheme in the document.
const TOKEN: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Portcullis administration",
        description = "Status, bans, waits and reload of a running server. On the Unix socket whoever may open it \
                       may do everything. Over TCP a token is needed, and without it every request, to whatever \
                       path, is answered 401, 429 or 423.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem))
)]
struct Document;

/// The document without paths.
pub(super) fn empty() -> OpenApi {
    Document::openapi()
}

/// With what is the same for all paths.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme(TOKEN, token);
    document.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    for path in document.paths.paths.values_mut() {
        for operation in operations(path) {
            for (status, meaning) in [
                (StatusCode::UNAUTHORIZED, "Over TCP: no token, or a wrong one"),
                (StatusCode::LOCKED, "Over TCP: this address is banned"),
                (StatusCode::TOO_MANY_REQUESTS, "Over TCP: this address waits, after a wrong token"),
            ] {
                let response = RefOr::T(problem(meaning));
                operation.responses.responses.insert(status.as_u16().to_string(), response);
            }
        }
    }
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}

fn problem(meaning: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new().description(meaning).content(PROBLEM_JSON, Content::new(Some(schema))).build()
}
