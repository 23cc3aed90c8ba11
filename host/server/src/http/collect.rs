//! Reading a whole body within bounds, for the few requests whose body must be
//! seen before they go on. It must not know what is in it.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http_body::Body as _;

use super::body::{Body, BodyError};

/// Why a body couldn't be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// It is longer than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// It wasn't complete in time.
    #[error("the body took too long")]
    Timeout,
    /// It broke off, or isn't a body.
    #[error("the body broke off")]
    Broken,
}

/// Reads a body of at most `max_bytes` within `deadline`, counted from now.
/// A length announced that is too large is refused before a byte is read, so
/// that a client that waits for 100 Continue never sends it. Trailers are dropped.
///
/// # Errors
/// As [`CollectError`] says.
pub async fn read_bounded(mut body: Body, max_bytes: usize, deadline: Duration) -> Result<Bytes, CollectError> {
    let announced = body.size_hint();
    if announced.lower() > max_bytes as u64 {
        return Err(CollectError::TooLarge);
    }
    let read = async {
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let data = match frame {
                None => break,
                Some(Err(BodyError::Stalled)) => return Err(CollectError::Timeout),
                Some(Err(BodyError::Broken(_))) => return Err(CollectError::Broken),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if first.len() + whole.len() + data.len() > max_bytes {
                return Err(CollectError::TooLarge);
            }
            if first.is_empty() && whole.is_empty() {
                first = data;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&data);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    };
    tokio::time::timeout(deadline, read).await.unwrap_or(Err(CollectError::Timeout))
}

/// The body and headers for a request whose body has been read: its length is
/// now known, and trailers, which [`read_bounded`] dropped, aren't announced.
#[must_use]
pub fn resend(headers: &mut HeaderMap, body: Bytes) -> Body {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(TRAILER);
    headers.insert(CONTENT_LENGTH, body.len().into());
    body.into()
}
