//! From what went wrong inside to what a client gets. One function, no second
//! way out: code, message, and `data` with kind, hint and whether a retry helps.

use jsonrpsee::types::ErrorObjectOwned;
use meshkiln_models::{StageError, StageErrorKind, recipe::RecipeError};
use meshkiln_protocol::error::{CallErrorData, ErrorKind};

use crate::main_loop::Refusal;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq)]
pub enum CallError {
    /// The parameters are not those of the method.
    Params {
        message: String,
        hint: String,
    },
    /// There is no such method.
    NoSuchMethod(String),
    /// The request is JSON-RPC but may not be sent this way.
    Request {
        message: String,
        hint: String,
    },
    /// The handler panicked. The log says where.
    Panicked,
    Refused(Refusal),
}

pub fn to_wire(error: CallError) -> ErrorObjectOwned {
    use jsonrpsee::types::error::{
        INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE, INVALID_REQUEST_CODE, METHOD_NOT_FOUND_CODE,
    };
    let (code, kind, message, hint) = match error {
        CallError::Params { message, hint } => (INVALID_PARAMS_CODE, ErrorKind::InvalidInput, message, hint),
        CallError::Request { message, hint } => (INVALID_REQUEST_CODE, ErrorKind::InvalidInput, message, hint),
        CallError::NoSuchMethod(name) => (
            METHOD_NOT_FOUND_CODE,
            ErrorKind::NotFound,
            format!("there is no method `{name}`"),
            "`session.hello` lists the methods, `rpc.discover` describes them".to_owned(),
        ),
        CallError::Panicked => (
            INTERNAL_ERROR_CODE,
            ErrorKind::Internal,
            "the daemon made a mistake while answering".to_owned(),
            "report it together with the log; `meshkiln log` shows it".to_owned(),
        ),
        CallError::Refused(refusal) => (refusal.kind.code(), refusal.kind, refusal.message, refusal.hint),
    };
    let data = CallErrorData { kind, hint, retryable: kind.retryable() };
    ErrorObjectOwned::owned(code, message, Some(data))
}

pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> CallError {
    refused(ErrorKind::InvalidInput, message, hint)
}

pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> CallError {
    refused(ErrorKind::NotFound, message, hint)
}

pub fn refused(kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> CallError {
    CallError::Refused(Refusal { kind, message: message.into(), hint: hint.into() })
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        CallError::Refused(refusal)
    }
}

impl From<StageError> for CallError {
    fn from(error: StageError) -> Self {
        let kind = match error.kind {
            StageErrorKind::InvalidInput => ErrorKind::InvalidInput,
            StageErrorKind::Truncated => ErrorKind::Truncated,
            StageErrorKind::Unsupported => ErrorKind::Unsupported,
            StageErrorKind::TooLarge => ErrorKind::TooLarge,
            StageErrorKind::NoObject => ErrorKind::NoObject,
            StageErrorKind::GateFailed => ErrorKind::GateFailed,
            StageErrorKind::Cancelled | StageErrorKind::Internal => ErrorKind::Internal,
        };
        refused(kind, error.message, error.hint)
    }
}

impl From<RecipeError> for CallError {
    fn from(error: RecipeError) -> Self {
        invalid(error.to_string(), error.hint)
    }
}
