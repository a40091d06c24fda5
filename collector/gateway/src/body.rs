//! Reading request bodies: bounded while they stream in, and not for ever.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use crate::refuse::Refusal;

/// Until a body must be there: the largest batch at 150 kbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The length that a request announces; the limit if it announces none.
pub(crate) fn announced(headers: &HeaderMap, limit: usize) -> Result<usize, Refusal> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(limit) };
    let length: Option<usize> = value.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= limit => Ok(length),
        _ => Err(too_large(limit)),
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(body: Body, expected: usize, limit: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, read_all(body, expected.min(limit), limit)).await {
        Ok(read) => read,
        Err(_) => {
            let error = format!("the body was not there after {} s", BODY_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", error, "try again; on a slow line send smaller batches"))
        }
    }
}

async fn read_all(mut body: Body, expected: usize, limit: usize) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::malformed(format!("the body broke off: {error}"), "send it again"))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

pub(crate) fn too_large(limit: usize) -> Refusal {
    let error = format!("the body is larger than {limit} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error, "split it and send the parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_cut_at_the_limit_whatever_it_announced() {
        let stream =
            || Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 100]))));
        let refused = read(stream(), 10, 1_000).await.unwrap_err();
        assert_eq!((refused.status, refused.body.code.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
        assert_eq!(read(Body::from("abc"), 3, 3).await.unwrap(), "abc");
    }

    #[test]
    fn an_announced_length_is_believed_only_within_the_limit() {
        let announce = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, text.parse().unwrap());
            announced(&headers, 100)
        };
        assert_eq!(announce("7").unwrap(), 7);
        assert_eq!(announced(&HeaderMap::new(), 100).unwrap(), 100);
        assert!(announce("101").is_err() && announce("99999999999999999999999").is_err() && announce("-1").is_err());
    }
}
