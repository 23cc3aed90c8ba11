//! The address of the service behind: `http://host[:port][/prefix]`.
//!
//! It must not know how one connects to it.

use std::fmt;

/// Where requests are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    host: String,
    port: u16,
    prefix: String,
}

/// Why a text isn't the URL of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// `https:` or a like scheme.
    #[error("http://…: TLS to the upstream isn't there yet; put a TLS client such as stunnel between them")]
    Tls,
    /// Anything else that isn't such a URL.
    #[error("http://host[:port][/prefix], without user, query or fragment")]
    Form,
}

impl UpstreamUrl {
    /// Takes `http://host[:port][/prefix]`.
    ///
    /// # Errors
    /// [`UrlError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Form)?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError::Tls);
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(UrlError::Form);
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@' | b'\\' | b'"');
        if !rest.bytes().all(plain) {
            return Err(UrlError::Form);
        }
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority_of(authority).ok_or(UrlError::Form)?;
        let prefix = prefix.trim_end_matches('/');
        if prefix.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(UrlError::Form);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port, prefix: prefix.to_owned() })
    }

    /// The name or address to connect to, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, 80 unless given.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What goes before every path: empty, or `/app` without a slash at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as a Host header names them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.prefix)
    }
}

fn authority_of(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], port_of(&authority[colon + 1..])?),
        _ => (authority, 80),
    };
    let address = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let fits = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    (fits && port != 0).then_some((host, port))
}

fn port_of(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_host_port_and_prefix() {
        let url = UpstreamUrl::parse("http://App.internal:3000/base/").unwrap();
        assert_eq!((url.host(), url.port(), url.prefix()), ("app.internal", 3000, "/base"));
        assert_eq!(url.to_string(), "http://app.internal:3000/base");
        assert_eq!(UpstreamUrl::parse("http://[::1]").unwrap().host(), "::1");
        assert_eq!(UpstreamUrl::parse("http://[::1]:81").unwrap().authority(), "[::1]:81");
        assert_eq!(UpstreamUrl::parse("http://app/").unwrap().prefix(), "");
    }

    #[test]
    fn refuses_what_it_cannot_reach() {
        assert_eq!(UpstreamUrl::parse("https://app"), Err(UrlError::Tls));
        for text in [
            "app:80",
            "http://",
            "http://u:p@app",
            "http://app?x",
            "ftp://app",
            "http://a b",
            "http://::1",
            "http://app:0",
            "http://app:x",
            "http://[::1",
            "http://app/../x",
            "unix:/run/app",
        ] {
            assert_eq!(UpstreamUrl::parse(text), Err(UrlError::Form), "{text}");
        }
    }
}
