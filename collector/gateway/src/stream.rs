//! The bytes of one connection, metered: whoever has not shown a certificate can send only so many.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a peer may send before it is authenticated: a handshake with a long chain (some 10 KiB) and one enrolment
/// (16 KiB) with its framing, several times over.
pub(crate) const MAX_UNAUTHENTICATED_BYTES: usize = 128 * 1024;

/// Lifts the limit once the peer is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance(Arc<AtomicBool>);

impl Allowance {
    pub(crate) fn lift(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream whose read side ends with an error after [`MAX_UNAUTHENTICATED_BYTES`], unless the limit was lifted.
#[derive(Debug)]
pub(crate) struct MeteredStream<S> {
    inner: S,
    read: usize,
    allowance: Allowance,
}

impl<S> MeteredStream<S> {
    pub(crate) fn new(inner: S, allowance: Allowance) -> Self {
        Self { inner, read: 0, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.allowance.0.load(Ordering::Relaxed) {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        if self.read >= MAX_UNAUTHENTICATED_BYTES {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many bytes without a client certificate")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.read += buf.filled().len() - before;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_stranger_is_cut_off_and_a_known_peer_is_not() {
        let flood = vec![0u8; 4 * MAX_UNAUTHENTICATED_BYTES];
        let mut read = Vec::new();
        let error = MeteredStream::new(flood.as_slice(), Allowance::default()).read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        let known = Allowance::default();
        known.lift();
        read.clear();
        assert_eq!(MeteredStream::new(flood.as_slice(), known).read_to_end(&mut read).await.unwrap(), flood.len());
    }
}
