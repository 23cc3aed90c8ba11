//! What is needed of a request once it has gone: method, path, and the
//! attributes that policies asked for.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri, Version};
use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, cut};
use portcullis_domain::{Attribute, Ruleset};

/// Facts about a request, kept aside.
#[derive(Clone)]
pub(super) struct Facts {
    method: Method,
    uri: Uri,
    attempt_attributes: Attributes,
    request_attributes: Attributes,
}

/// Names and values; empty, and so free, unless a policy asked for some.
type Attributes = Vec<(String, String)>;

impl Facts {
    pub(super) fn of<B>(request: &Request<B>, ruleset: &Ruleset) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            attempt_attributes: collect(request, ruleset.attempt_attributes()),
            request_attributes: collect(request, ruleset.request_attributes()),
        }
    }

    pub(super) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// As received, without the query.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn for_attempts(&self) -> Vec<Attribute<'_>> {
        borrowed(&self.attempt_attributes)
    }

    pub(super) fn for_requests(&self) -> Vec<Attribute<'_>> {
        borrowed(&self.request_attributes)
    }
}

fn borrowed(attributes: &Attributes) -> Vec<Attribute<'_>> {
    attributes.iter().map(|(name, value)| Attribute { name, value }).collect()
}

fn collect<B>(request: &Request<B>, wanted: &[String]) -> Attributes {
    let known = wanted.iter().filter_map(|name| Some((name.clone(), value(request, name)?)));
    known.map(|(name, value)| (name, cut(&value, ATTRIBUTE_BYTES_MAX).to_owned())).collect()
}

/// The attributes there are. The list may grow; a name that isn't known has no value.
fn value<B>(request: &Request<B>, name: &str) -> Option<String> {
    let header = |name| text(request.headers(), name);
    match name {
        "accept" => header(ACCEPT),
        "accept-language" => header(ACCEPT_LANGUAGE),
        "content-type" => header(CONTENT_TYPE),
        "host" => header(HOST).or_else(|| request.uri().authority().map(ToString::to_string)),
        "protocol" => Some(if request.version() == Version::HTTP_2 { "h2" } else { "http/1.1" }.to_owned()),
        "query" => request.uri().query().map(str::to_owned),
        "referer" => header(REFERER),
        "user-agent" => header(USER_AGENT),
        _ => None,
    }
}

fn text(headers: &HeaderMap, name: http::header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_23_attributes_are_those_asked_for_and_cut() {
        let request = Request::builder()
            .uri("/a?b=c")
            .header(USER_AGENT, "x".repeat(2000))
            .header(HOST, "example.org")
            .body(())
            .unwrap();
        let wanted = ["host", "nonsense", "query", "user-agent"].map(str::to_owned);
        let found = collect(&request, &wanted);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["host", "query", "user-agent"]);
        assert_eq!((found[0].1.as_str(), found[1].1.as_str()), ("example.org", "b=c"));
        assert_eq!(found[2].1.len(), ATTRIBUTE_BYTES_MAX);
        assert!(collect(&request, &[]).is_empty());
    }
}
