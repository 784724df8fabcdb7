//! Files from a hub over HTTP: resumed, bounded, never trusted.
//!
//! Resuming is RFC 9110's: `Range` for what is missing, `If-Range` with the
//! validator of what is here, so that a changed file starts again. Redirects
//! are followed here rather than by the client library: each target is looked
//! at, and the hub's own headers are on the first answer. The hub says there
//! how long a file is and, for large ones, its SHA-256 (`x-linked-size`,
//! `x-linked-etag`), which counts where the catalogue knows no better.

use std::{
    io::Read,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use core::time::Duration;

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{
    super::{Result, WeightsError},
    Pull, Wanted,
    address::Address,
    partial::Partial,
    room_for,
    state::Seen,
};

const CHUNK: usize = 256 << 10;
const MAX_REDIRECTS: usize = 8;
/// Longest body, in bytes, of a server that does not say how long it is, where
/// nobody else knows either. Configurations come like that; weights do not.
const MAX_UNANNOUNCED: u64 = 16 << 20;
/// How soon a cancelled pull leaves a server that says nothing.
const WATCH: Duration = Duration::from_millis(50);

pub struct Client<'a> {
    agent: Agent,
    base: Address,
    how: &'a Pull<'a>,
}

/// An answer that is not a redirect, and what the hub said on the way to it.
struct Answer {
    from: Address,
    response: Response<Body>,
    hub_bytes: Option<u64>,
    hub_sha256: Option<String>,
}

/// What an answer's body is.
struct Announced {
    /// Of the whole file.
    total: Option<u64>,
    hub_sha256: Option<String>,
}

/// Whose certificates count: those that this machine trusts, a studio's own among them, or where it
/// has none, as in a bare container, those that come with this program.
fn trusted() -> RootCerts {
    static MACHINE: LazyLock<Arc<Vec<Certificate<'static>>>> = LazyLock::new(|| {
        let found = rustls_native_certs::load_native_certs();
        found.errors.iter().for_each(|e| tracing::debug!("a certificate cannot be read: {e}"));
        Arc::new(found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
    });
    if MACHINE.is_empty() { RootCerts::WebPki } else { RootCerts::Specific(MACHINE.clone()) }
}

/// What went wrong, and what to do where that is known.
fn told(error: &ureq::Error) -> String {
    let text = error.to_string();
    match text.contains("UnknownIssuer") {
        true => format!("{text}; if your network signs its own certificates, name its root in SSL_CERT_FILE"),
        false => text,
    }
}

impl<'a> Client<'a> {
    pub fn new(base: &str, how: &'a Pull<'a>) -> Result<Self> {
        let base = Address::base(base)?;
        let mut config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(how.stall))
            .timeout_connect(Some(how.stall))
            .timeout_per_read(Some(how.stall))
            .timeout_per_write(Some(how.stall))
            .tls_config(TlsConfig::builder().root_certs(trusted()).build())
            .user_agent(concat!("meshkiln/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity");
        if base.is_local() {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), base, how })
    }

    /// Fetches a file and gives it its name. A server is asked at most
    /// `retries` times more, and once more from the start where all bytes came
    /// and they were the wrong ones: then a partial from before may be to blame.
    pub fn fetch(&self, wanted: &Wanted, report: &mut dyn FnMut(u64, Option<u64>)) -> Result<Seen> {
        self.watched(|| {
            let mut partial = Partial::open(wanted.target, wanted.name(), self.how.cancel)?;
            match self.until_complete(wanted, &mut partial, report) {
                Ok(()) => partial.finish(wanted.target),
                Err(error) => {
                    let is_worthless = matches!(error, WeightsError::Lied { .. } | WeightsError::WrongBytes { .. });
                    // The error that ended it is the one to tell, whatever becomes of these.
                    let _ = match is_worthless || partial.len() == 0 {
                        true => super::partial::remove(wanted.target),
                        false => partial.save(),
                    };
                    Err(error)
                }
            }
        })
    }

    fn until_complete(
        &self,
        wanted: &Wanted,
        partial: &mut Partial,
        report: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<()> {
        let mut n_failures = 0;
        let mut was_wrong = false;
        loop {
            let error = match self.attempt(wanted, partial, report) {
                Ok(announced) => {
                    let found = Seen { bytes: partial.len(), sha256: partial.sha256() };
                    match check(wanted, &announced, &found) {
                        Err(error) if was_wrong => return Err(error),
                        Err(_) => {
                            was_wrong = true;
                            partial.restart()?;
                            continue;
                        }
                        Ok(()) => return Ok(()),
                    }
                }
                Err(error) => error,
            };
            if self.how.cancel.is_cancelled() {
                return Err(WeightsError::Cancelled);
            }
            if !error.is_retryable() || n_failures == self.how.retries {
                return Err(error);
            }
            n_failures += 1;
            partial.save()?;
            (self.how.pause)(n_failures);
            if self.how.cancel.is_cancelled() {
                return Err(WeightsError::Cancelled);
            }
        }
    }

    /// One request for what is missing, read to its end.
    fn attempt(
        &self,
        wanted: &Wanted,
        partial: &mut Partial,
        report: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Announced> {
        let known = wanted.expected.bytes.or(partial.total());
        if known.is_some_and(|total| partial.len() > total) {
            partial.restart()?;
        }
        if partial.len() > 0 && known == Some(partial.len()) {
            return Ok(Announced { total: known, hub_sha256: None });
        }
        // Without a validator or a sum to compare, what comes may belong to another file.
        if partial.len() > 0 && partial.etag().is_none() && wanted.expected.sha256.is_none() {
            partial.restart()?;
        }
        let answer = self.ask(wanted, partial)?;
        let url = answer.from.shown();
        let announced = accept(&answer, wanted, partial)?;
        if wanted.expected.bytes.is_none() {
            let missing = announced.total.unwrap_or(MAX_UNANNOUNCED).saturating_sub(partial.len());
            room_for(missing, wanted.target.parent().unwrap_or(wanted.target), self.how)?;
        }
        report(partial.len(), announced.total);
        let limit = announced.total.unwrap_or(MAX_UNANNOUNCED);
        let mut body = answer.response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.how.cancel.is_cancelled() {
                return Err(WeightsError::Cancelled);
            }
            let n = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WeightsError::Network { url, what: error.to_string() }),
            };
            if n as u64 > limit.saturating_sub(partial.len()) {
                return Err(WeightsError::Lied { url, what: format!("it sends more than {limit} bytes") });
            }
            partial.append(&chunk[..n])?;
            report(partial.len(), announced.total);
        }
        match announced.total {
            Some(total) if partial.len() < total => {
                Err(WeightsError::Network { url, what: format!("it ended after {} of {total} bytes", partial.len()) })
            }
            _ => Ok(announced),
        }
    }

    /// Asks for what is missing and follows redirects.
    fn ask(&self, wanted: &Wanted, partial: &Partial) -> Result<Answer> {
        let mut at = self.base.file(wanted.net.repository, wanted.net.revision_or_main(), wanted.file.path);
        let (mut hub_bytes, mut hub_sha256) = (None, None);
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(at.text());
            if partial.len() > 0 {
                request = request.header(header::RANGE, format!("bytes={}-", partial.len()));
                if let Some(etag) = partial.etag() {
                    request = request.header(header::IF_RANGE, etag);
                }
            }
            let failed = |error: ureq::Error| WeightsError::Network { url: at.shown(), what: told(&error) };
            let response = request.call().map_err(failed)?;
            let headers = response.headers();
            hub_bytes = hub_bytes.or(number(headers, "x-linked-size"));
            hub_sha256 = hub_sha256.or(sha256(headers));
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => match text(headers, "location") {
                    Some(location) => at = at.redirect(&self.base, location)?,
                    None => {
                        let what = "it redirects to nowhere".to_owned();
                        return Err(WeightsError::Lied { url: at.shown(), what });
                    }
                },
                _ => return Ok(Answer { from: at, response, hub_bytes, hub_sha256 }),
            }
        }
        Err(WeightsError::Lied { url: at.shown(), what: format!("it redirects more than {MAX_REDIRECTS} times") })
    }

    /// Runs `work` while another thread looks at the cancel token: closing the
    /// connections is what wakes a read that waits for a silent server.
    fn watched<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Done<'d>(&'d AtomicBool, thread::Thread);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
                self.1.unpark();
            }
        }
        let (done, agent, cancel) = (AtomicBool::new(false), self.agent.clone(), self.how.cancel);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    if cancel.is_cancelled() {
                        agent.shutdown();
                        break;
                    }
                    thread::park_timeout(WATCH);
                }
            });
            let _done = Done(&done, watcher.thread().clone());
            work()
        })
    }
}

/// Looks at the head of an answer before a byte of its body is taken.
fn accept(answer: &Answer, wanted: &Wanted, partial: &mut Partial) -> Result<Announced> {
    let url = answer.from.shown();
    let lied = |what: String| WeightsError::Lied { url: url.clone(), what };
    let headers = answer.response.headers();
    let body_bytes = number(headers, "content-length");
    let total = match answer.response.status().as_u16() {
        200 => {
            partial.restart()?; // it is the whole file, whatever was asked for
            body_bytes
        }
        206 => match text(headers, "content-range").and_then(content_range) {
            Some((from, to, total)) if from == partial.len() && from <= to => {
                if body_bytes.is_some_and(|n| n != to - from + 1) {
                    return Err(lied("the length of its answer is not that of the range".to_owned()));
                }
                if partial.total().or(total) != total {
                    return Err(lied("the length of the file changed between two parts of it".to_owned()));
                }
                total
            }
            _ => return Err(lied(format!("it was asked for the bytes from {} and sends others", partial.len()))),
        },
        416 => {
            partial.restart()?;
            return Err(WeightsError::Network { url, what: "it has no such range".to_owned() });
        }
        408 | 425 | 429 | 500..=599 => {
            return Err(WeightsError::Network { url, what: format!("it answers {}", answer.response.status()) });
        }
        status => return Err(WeightsError::Refused { url, status }),
    };
    for (who, expected) in [("the hub", answer.hub_bytes), ("the catalogue", wanted.expected.bytes)] {
        if let (Some(expected), Some(total)) = (expected, total)
            && expected != total
        {
            return Err(lied(format!("it announces {total} bytes where {who} says {expected}")));
        }
    }
    let total = total.or(wanted.expected.bytes).or(answer.hub_bytes);
    // A weak validator does not vouch for single bytes.
    let etag = text(headers, "etag").filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
    if partial.len() > 0 && etag.is_some() && partial.etag().is_some() && etag.as_deref() != partial.etag() {
        return Err(lied("the file changed between two parts of it".to_owned()));
    }
    partial.describe(etag.or(partial.etag().map(str::to_owned)), total);
    Ok(Announced { total, hub_sha256: answer.hub_sha256.clone() })
}

/// Against the catalogue or the first download; where neither knows, against the hub.
fn check(wanted: &Wanted, announced: &Announced, found: &Seen) -> Result<()> {
    wanted.check(found)?;
    match (&wanted.expected.sha256, &announced.hub_sha256) {
        (None, Some(expected)) if *expected != found.sha256 => Err(WeightsError::WrongBytes {
            file: wanted.file.path.to_owned(),
            what: "SHA-256",
            expected: expected.clone(),
            found: found.sha256.clone(),
        }),
        _ => Ok(()),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// The hub's `x-linked-etag`, where it is a SHA-256.
fn sha256(headers: &HeaderMap) -> Option<String> {
    let etag = text(headers, "x-linked-etag")?.trim_matches('"').to_ascii_lowercase();
    (etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(etag)
}

/// `bytes FROM-TO/TOTAL`, the total possibly `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let total: Option<u64> = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    total.is_none_or(|total| to < total).then_some((from, to, total))
}
