//! Who may speak at all. In goes the head of a request, whatever it asks for
//! (call, batch, WebSocket upgrade, blob); out comes nothing, or the answer that
//! refuses it. Runs before routing.
//!
//! A loopback port is no defence: any web page may send requests to it. Hence, in
//! this order: `Host` exactly ours (DNS rebinding), `Origin` absent or exactly
//! listed (pages; nothing else covers WebSockets), the token, and for POST the
//! content type (forms).

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN},
};
use subtle::ConstantTimeEq;

use super::reply::{self, Response};

pub struct Gate {
    hosts: [String; 3],
    origins: Vec<String>,
    token: String,
    /// Where a client finds the token, for people who read the refusal.
    token_file: String,
}

impl Gate {
    /// `origins` are compared as whole strings: `vscode-webview://0k3...`.
    pub fn new(port: u16, token: String, token_file: String, origins: Vec<String>) -> Gate {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        Gate { hosts, origins, token, token_file }
    }

    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Box<Response>> {
        let headers = request.headers();
        self.check_host(request)?;
        self.check_origin(headers)?;
        self.check_token(headers)?;
        if request.method() == Method::POST {
            check_content_type(headers)?;
        }
        Ok(())
    }

    fn check_host<B>(&self, request: &Request<B>) -> Result<(), Box<Response>> {
        // An absolute-form target (`GET http://other/ HTTP/1.1`) outranks the header.
        let host = only(request.headers(), HOST).filter(|_| request.uri().authority().is_none());
        match host {
            Some(host) if self.hosts.iter().any(|ours| ours == host) => Ok(()),
            _ => Err(refuse(
                StatusCode::FORBIDDEN,
                "this is not the host you are looking for",
                &format!("send one header `Host: {}` and a path as target", self.hosts[0]),
            )),
        }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        match only(headers, ORIGIN) {
            Some(origin) if self.origins.iter().any(|ours| ours == origin) => Ok(()),
            _ => Err(refuse(
                StatusCode::FORBIDDEN,
                "pages of this origin may not speak to the daemon",
                "send no `Origin`, or list it under `origins` in the daemon's settings",
            )),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let given = only(headers, AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        // Takes the same time wherever the first wrong byte is.
        if given.is_some_and(|given| given.as_bytes().ct_eq(self.token.as_bytes()).into()) {
            return Ok(());
        }
        let message = if given.is_some() { "the token is wrong" } else { "there is no token" };
        let hint = format!("send `Authorization: Bearer TOKEN`; the token is in {}", self.token_file);
        let mut response = refuse(StatusCode::UNAUTHORIZED, message, &hint);
        reply::set(&mut response, "www-authenticate", "Bearer");
        Err(response)
    }
}

/// Forms can send three content types without asking; JSON is none of them.
fn check_content_type(headers: &HeaderMap) -> Result<(), Box<Response>> {
    let content_type = only(headers, CONTENT_TYPE).unwrap_or_default();
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let utf8 = matches!(parameters.trim().to_ascii_lowercase().as_str(), "" | "charset=utf-8");
    if essence.trim().eq_ignore_ascii_case("application/json") && utf8 {
        return Ok(());
    }
    Err(refuse(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        &format!("`{content_type}` is not what calls are written in"),
        "send `Content-Type: application/json`",
    ))
}

/// The header's value when there is exactly one and it is text.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn refuse(status: StatusCode, message: &str, hint: &str) -> Box<Response> {
    Box::new(reply::refusal(status, message, hint))
}
