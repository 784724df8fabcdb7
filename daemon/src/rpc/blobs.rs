//! `/blob/<sha256>`: GET and HEAD with Range, PUT. The name is 64 lower-case hex
//! digits or the answer is 404 before the disk is asked; no path is ever made of
//! what a client sent.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, IF_NONE_MATCH, IF_RANGE, RANGE},
};
use jsonrpsee::server::HttpBody;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    limits,
    reply::{self, Response},
};
use crate::{
    durable,
    store::blobs::{BlobStore, Digest, PutError},
};

const CHUNK: usize = 256 << 10;
/// At once; each may take 64 MiB of disk before it is known to be what it claims.
const UPLOADS: usize = 8;

pub struct Blobs {
    store: BlobStore,
    uploads: Arc<Semaphore>,
}

impl Blobs {
    pub fn new(store: BlobStore) -> Blobs {
        Blobs { store, uploads: Arc::new(Semaphore::new(UPLOADS)) }
    }

    pub async fn answer(&self, name: &str, request: Request<Incoming>) -> Response {
        let Ok(digest) = name.parse::<Digest>() else { return no_such_blob() };
        match *request.method() {
            Method::GET | Method::HEAD => get(self.store.clone(), digest, request.headers()).await,
            Method::PUT => self.put(digest, request).await,
            _ => {
                let mut response =
                    reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "blobs are read and put", "use GET, HEAD or PUT");
                reply::set(&mut response, "allow", "GET, HEAD, PUT");
                response
            }
        }
    }

    async fn put(&self, digest: Digest, request: Request<Incoming>) -> Response {
        let Ok(_permit) = self.uploads.try_acquire() else {
            let message = format!("{UPLOADS} uploads are going on");
            let mut response = reply::refusal(StatusCode::SERVICE_UNAVAILABLE, &message, "try again in a second");
            reply::set(&mut response, "retry-after", "1");
            return response;
        };
        let headers = request.headers();
        if headers.contains_key(CONTENT_ENCODING) {
            let hint = "send the bytes as they are";
            return reply::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded uploads are not read", hint);
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > limits::BLOB_BYTES) {
            return put_failed(PutError::TooLarge { bytes, limit: limits::BLOB_BYTES });
        }
        match receive(self.store.clone(), digest, request.into_body()).await {
            Ok((blob, is_new)) => {
                let body = serde_json::json!({ "sha256": blob.sha256, "bytes": blob.bytes }).to_string();
                let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
                let mut response = reply::with_body(status, HttpBody::from(body));
                reply::set(&mut response, "content-type", "application/json");
                response
            }
            Err(refusal) => *refusal,
        }
    }
}

async fn receive(
    store: BlobStore,
    digest: Digest,
    mut body: Incoming,
) -> Result<(crate::store::blobs::Blob, bool), Box<Response>> {
    let broken = |status, message| Box::new(reply::refusal(status, message, "send it again"));
    let begin =
        move || Ok((store.upload(digest, limits::BLOB_BYTES).map_err(PutError::Write)?, store.contains(digest)));
    let (mut upload, existed) = on_disk(begin).await?;
    let mut waiting = Vec::new();
    loop {
        let frame = match tokio::time::timeout(limits::BODY_TIME, body.frame()).await {
            Err(_) => return Err(broken(StatusCode::REQUEST_TIMEOUT, "the upload came too slowly")),
            Ok(Some(Err(_))) => return Err(broken(StatusCode::BAD_REQUEST, "the upload broke off")),
            Ok(Some(Ok(frame))) => frame.into_data().ok(),
            Ok(None) => break,
        };
        waiting.extend_from_slice(&frame.unwrap_or_default());
        if waiting.len() >= CHUNK {
            let chunk = std::mem::take(&mut waiting);
            upload = on_disk(move || upload.write(&chunk).map(|()| upload)).await?;
        }
    }
    let blob = on_disk(move || upload.write(&waiting).and_then(|()| upload.finish())).await?;
    Ok((blob, !existed))
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PutError> + Send + 'static,
) -> Result<T, Box<Response>> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| Box::new(put_failed(e))),
        Err(e) => Err(Box::new(put_failed(PutError::Write(io::Error::other(e))))),
    }
}

fn put_failed(error: PutError) -> Response {
    let (status, hint) = match &error {
        PutError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "make the picture smaller"),
        PutError::WrongDigest { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "put the bytes under their own SHA-256, and check the transfer")
        }
        PutError::Write(e) if durable::is_full(e) => (StatusCode::INSUFFICIENT_STORAGE, "free some disk space"),
        PutError::Write(_) | PutError::Read(_) | PutError::Changed | PutError::NotAFile => {
            (StatusCode::INTERNAL_SERVER_ERROR, "look into the daemon's log")
        }
    };
    if status.is_server_error() {
        tracing::error!("an upload failed: {error}");
    }
    reply::refusal(status, &error.to_string(), hint)
}

async fn get(store: BlobStore, digest: Digest, headers: &HeaderMap) -> Response {
    let etag = format!("\"{digest}\"");
    let file = match spawn_blocking(move || store.open_blob(digest)).await {
        Ok(Ok(file)) => file,
        Ok(Err(e)) => {
            if e.kind() != io::ErrorKind::NotFound {
                tracing::warn!("blob {digest} cannot be read: {e}");
            }
            return no_such_blob();
        }
        Err(e) => return put_failed(PutError::Read(io::Error::other(e))),
    };
    let (file, length) = file;
    let matches = |name| headers.get(name).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if matches(IF_NONE_MATCH) {
        reply::with_body(StatusCode::NOT_MODIFIED, HttpBody::empty())
    } else {
        // A range of another version of the blob cannot be asked for: there is none.
        let wanted = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE) || matches(IF_RANGE));
        match wanted.map_or(Wanted::All, |range| Wanted::read(range.to_str().unwrap_or_default(), length)) {
            Wanted::All => part(StatusCode::OK, file, 0..length),
            Wanted::Part(range) => {
                let content = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let mut response = part(StatusCode::PARTIAL_CONTENT, file, range);
                reply::set(&mut response, "content-range", &content);
                response
            }
            Wanted::Nothing => {
                let message = format!("the blob has {length} bytes");
                let mut response = reply::refusal(StatusCode::RANGE_NOT_SATISFIABLE, &message, "ask for a part of it");
                reply::set(&mut response, "content-range", &format!("bytes */{length}"));
                return response;
            }
        }
    };
    reply::set(&mut response, "content-type", "application/octet-stream");
    reply::set(&mut response, "content-disposition", "attachment");
    reply::set(&mut response, "accept-ranges", "bytes");
    reply::set(&mut response, "etag", &etag);
    response
}

fn part(status: StatusCode, file: File, range: Range<u64>) -> Response {
    let length = range.end - range.start;
    let mut response = reply::with_body(status, HttpBody::new(FileBody::new(file, range)));
    reply::set(&mut response, "content-length", &length.to_string());
    response
}

fn no_such_blob() -> Response {
    reply::refusal(StatusCode::NOT_FOUND, "there is no such blob", "ask for /blob/ and 64 lower-case hex digits")
}

#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    /// Not empty.
    Part(Range<u64>),
    /// A range that lies outside.
    Nothing,
}

impl Wanted {
    /// RFC 9110 section 14: what is not one sound range of bytes is passed over.
    fn read(header: &str, length: u64) -> Wanted {
        let bounds = header.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let Some((first, last)) = bounds else { return Wanted::All };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let range = match (number(first), number(last)) {
            (Some(first), None) if last.is_empty() => first..length,
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            (None, Some(n)) if first.is_empty() => length.saturating_sub(n)..length,
            _ => return Wanted::All,
        };
        if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
    }
}

/// Part of a file, read piece by piece on the blocking threads, none of which is
/// held while the client takes its time.
struct FileBody {
    state: State,
    left: u64,
}

enum State {
    Reading(JoinHandle<io::Result<(File, Vec<u8>)>>),
    Waiting(File),
    Ended,
}

impl FileBody {
    fn new(file: File, range: Range<u64>) -> FileBody {
        let left = range.end - range.start;
        let state = if left == 0 { State::Ended } else { State::Reading(read(file, Some(range.start), left)) };
        FileBody { state, left }
    }
}

fn read(mut file: File, from: Option<u64>, left: u64) -> JoinHandle<io::Result<(File, Vec<u8>)>> {
    spawn_blocking(move || {
        if let Some(from) = from {
            file.seek(SeekFrom::Start(from))?;
        }
        let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        file.read_exact(&mut chunk)?;
        Ok((file, chunk))
    })
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let left = self.left;
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Waiting(file) => self.state = State::Reading(read(file, None, left)),
                State::Reading(mut reading) => {
                    let Poll::Ready(done) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    let (file, chunk) = match done.map_err(io::Error::other).flatten() {
                        Ok(read) => read,
                        Err(e) => return Poll::Ready(Some(Err(e))),
                    };
                    self.left -= chunk.len() as u64;
                    if self.left > 0 {
                        self.state = State::Waiting(file);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(chunk.into()))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let read = |header| Wanted::read(header, 1000);
        assert_eq!(read("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(read("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(read("bytes=990-"), Wanted::Part(990..1000));
        assert_eq!(read("bytes=990-4000"), Wanted::Part(990..1000));
        assert_eq!(read("bytes=-5"), Wanted::Part(995..1000));
        assert_eq!(read("bytes=-5000"), Wanted::Part(0..1000));
        assert_eq!(read("bytes=0-99999999999999999999999"), Wanted::Part(0..1000));
        for outside in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read(outside), Wanted::Nothing, "{outside}");
        }
        for strange in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "bytes=+1-2", "lines=0-1", "bytes= 1-2"]
        {
            assert_eq!(read(strange), Wanted::All, "{strange}");
        }
        assert_eq!(Wanted::read("bytes=0-", 0), Wanted::Nothing);
    }
}
