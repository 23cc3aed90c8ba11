//! HTTP/1.1 as bytes, as far as the tests' own client and upstream need it.

use std::io::{self, BufRead, Read};

/// A start line and the headers below it, names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads one; nothing if the stream ends before it begins.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let start = line(from)?;
        if start.is_empty() {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let line = line(from)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None if line.trim_end().is_empty() && !line.is_empty() => break,
                None => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a header: {line:?}"))),
            }
        }
        Ok(Some(Self { start: start.trim_end().to_owned(), headers }))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Reads the body that the headers announce; trailers are added to the headers.
    pub(crate) fn read_body(&mut self, from: &mut impl BufRead, until_end: bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = line(from)?;
                let size = usize::from_str_radix(size.trim().split(';').next().unwrap_or_default(), 16)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if size == 0 {
                    break;
                }
                take(from, size, &mut body)?;
                line(from)?;
            }
            loop {
                let line = line(from)?;
                match line.trim_end().split_once(':') {
                    Some((name, value)) => self.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                    None => break,
                }
            }
        } else if let Some(length) = self.header("content-length") {
            let length = length.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            take(from, length, &mut body)?;
        } else if until_end {
            from.read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

pub(crate) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line)
}

fn take(from: &mut impl BufRead, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let before = into.len();
    from.take(length as u64).read_to_end(into)?;
    if into.len() - before == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
