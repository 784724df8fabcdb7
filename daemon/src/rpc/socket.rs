//! A connection that cannot be used to fill our memory.
//!
//! Wraps the socket for its whole life, WebSocket included. While the peer takes
//! nothing from us, nothing more is read from it, so that answers do not pile up
//! behind a client that never reads. After `PATIENCE` without progress the
//! connection is closed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// How long a peer may take nothing of what is waiting for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of answers that were made for one connection and not yet taken by its
/// peer. Answers are counted in, whatever is written is counted out: with events in
/// between it may be less than the truth, never for long more.
#[derive(Clone, Default)]
pub struct Unread(Arc<AtomicUsize>);

impl Unread {
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn taken(&self, bytes: usize) {
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| Some(waiting.saturating_sub(bytes)));
    }
}

/// `G` is dropped with the socket: the place it holds among all connections.
pub struct Socket<G> {
    stream: TcpStream,
    _guard: G,
    unread: Unread,
    /// Present while a write waits for the peer.
    stuck: Option<Pin<Box<Sleep>>>,
    /// Patience is over.
    given_up: bool,
    /// Who wanted to read meanwhile.
    reader: Option<Waker>,
}

impl<G> Socket<G> {
    pub fn new(stream: TcpStream, guard: G, unread: Unread) -> Socket<G> {
        Socket { stream, _guard: guard, unread, stuck: None, given_up: false, reader: None }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.unread.taken(*bytes);
        }
    }

    /// Keeps the time of a write that has to wait, and lets the reader go on
    /// when it has not.
    fn after_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let written = match written {
            Poll::Ready(_) => written,
            Poll::Pending => {
                let deadline = Instant::now() + PATIENCE;
                let patience = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                ready!(patience.as_mut().poll(cx));
                self.given_up = true;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        };
        self.stuck = None;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        written
    }
}

impl<G: Unpin> AsyncRead for Socket<G> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.stuck.is_some() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<G: Unpin> AsyncWrite for Socket<G> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(&written);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(&written);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.after_write(cx, done)
    }
}
