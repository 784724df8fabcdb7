//! HTTP answers that are not JSON-RPC: refusals and blobs. None may be sniffed,
//! cached, or read by a page of another origin.

use hyper::{StatusCode, header::HeaderValue};
use jsonrpsee::server::{HttpBody, HttpResponse};
use serde_json::json;

pub type Response = HttpResponse<HttpBody>;

/// `{"message": ..., "hint": ...}`: what is wrong and what to do.
pub fn refusal(status: StatusCode, message: &str, hint: &str) -> Response {
    let body = json!({ "message": message, "hint": hint }).to_string();
    let mut response = with_body(status, HttpBody::from(body));
    set(&mut response, "content-type", "application/json");
    response
}

pub fn with_body(status: StatusCode, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// What every answer carries, JSON-RPC included.
pub fn harden(response: &mut Response) {
    set(response, "x-content-type-options", "nosniff");
    set(response, "cross-origin-resource-policy", "same-origin");
    set(response, "cache-control", "no-store");
}

/// `value` must be visible ASCII; anything else is left out.
pub fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
