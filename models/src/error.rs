//! What can be wrong with the data a stage was given.

/// Why a stage returned early. `message` says what is wrong with both values,
/// `hint` is an action the user can take; both lower case, no final dot.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    pub kind: StageErrorKind,
    pub message: String,
    pub hint: String,
}

/// The closed set of reasons. Callers map these one to one onto wire kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StageErrorKind {
    /// The input is damaged or makes no sense for this stage.
    InvalidInput,
    /// The input ends before it should: it may still be being written.
    Truncated,
    /// A format or feature that is deliberately not read.
    Unsupported,
    /// Over a stated limit.
    TooLarge,
    /// No object could be told from its background.
    NoObject,
    /// The finished asset did not pass the gate.
    GateFailed,
    /// The cancel token was set.
    Cancelled,
    /// A mistake of ours.
    Internal,
}

impl StageError {
    pub fn new(kind: StageErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: hint.into() }
    }

    pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StageErrorKind::InvalidInput, message, hint)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StageErrorKind::Internal, message, "report this with `meshkiln job ID log`")
    }

    pub fn cancelled() -> Self {
        Self::new(StageErrorKind::Cancelled, "cancelled", "")
    }
}
