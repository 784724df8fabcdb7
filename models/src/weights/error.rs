//! What can go wrong between a published file and a tensor in memory.

use crate::error::{StageError, StageErrorKind};

/// Texts are lower case without a final dot and name the file, what was
/// expected and what was found; [`WeightsError::hint`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The bytes contradict themselves or their format.
    #[error("{file} is damaged: {what}")]
    Damaged { file: String, what: String },
    /// The file ends before its own headers say it should.
    #[error("{file} ends too early: {what}")]
    Truncated { file: String, what: String },
    /// A format, or a feature of one, that is deliberately not read.
    #[error("{file} holds {found}, which is not read")]
    Unsupported { file: String, found: String, hint: &'static str },
    /// A pickle names something to call that is not on the closed list.
    #[error("{file} names `{global}`, which would be executed; only tensors and dictionaries are read")]
    RunsCode { file: String, global: String },
    /// A size in a header is over a stated limit.
    #[error("{file}: {what} is {found}, over the limit of {limit}")]
    TooLarge { file: String, what: String, found: u64, limit: u64 },
    /// A tensor is there, but not as the network needs it.
    #[error("{file}: `{key}` should be {expected}, is {found}")]
    Tensor { file: String, key: String, expected: String, found: String },
    /// `first` names the first few of `n_missing`.
    #[error("{file} lacks {n_missing} tensors, among them {}", .first.join(", "))]
    MissingKeys { file: String, first: Vec<String>, n_missing: usize },
    /// A setting is there, but not as the reader needs it.
    #[error("{file}: `{key}` should be {expected}, is {found}")]
    Setting { file: String, key: String, expected: String, found: String },
    /// The whole file arrived, and it is not the one that was asked for.
    #[error("{file} should have {what} {expected}, has {found}")]
    WrongBytes { file: String, what: &'static str, expected: String, found: String },
    /// The server said no.
    #[error("{url} answered {status}")]
    Refused { url: String, status: u16 },
    /// The server's answers contradict each other or the catalogue.
    #[error("{url} cannot be trusted: {what}")]
    Lied { url: String, what: String },
    /// An address that is not fetched from.
    #[error("{url} is not fetched from: {what}")]
    Address { url: String, what: &'static str },
    /// The connection failed or ended early, as often as was allowed.
    #[error("{url} could not be fetched: {what}")]
    Network { url: String, what: String },
    /// No such file in the folder given as a source.
    #[error("{file} is not in {folder}")]
    NotThere { file: String, folder: String },
    /// `needed` includes the conversion and a reserve.
    #[error("{folder} has {free} bytes free, {needed} are needed")]
    DiskFull { folder: String, needed: u64, free: u64 },
    /// Another pull or removal of the same net is at work.
    #[error("`{net}` is being pulled or removed already")]
    Busy { net: String },
    /// The system refused to read or write.
    #[error("{file}: {what}")]
    Io { file: String, what: String },
    #[error("cancelled")]
    Cancelled,
}

impl WeightsError {
    pub fn io(file: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let file = file.to_string();
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Truncated { file, what: "no more bytes".to_owned() },
            _ => Self::Io { file, what: error.to_string() },
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Busy { .. })
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Damaged { .. } | Self::Truncated { .. } | Self::WrongBytes { .. } => {
                "pull the net again; if that does not help, the source itself is damaged"
            }
            Self::Unsupported { hint, .. } => hint,
            Self::RunsCode { .. } => {
                "do not load this file anywhere; use safetensors, or a checkpoint saved from `state_dict()` alone"
            }
            Self::TooLarge { .. } => "no checkpoint that is known to be sound is like this; use another source",
            Self::Tensor { .. } | Self::MissingKeys { .. } | Self::Setting { .. } => {
                "the file belongs to another version of the network; pull the net again"
            }
            Self::Refused { status: 401 | 403, .. } => {
                "the repository needs a login; fetch the files by hand and pull with `--from DIR`"
            }
            Self::Refused { .. } => "check MESHKILN_HUB, or pull with `--from DIR`",
            Self::Lied { .. } => "use another mirror, or pull with `--from DIR`",
            Self::Address { .. } => "set MESHKILN_HUB to an https address",
            Self::Network { .. } => "check the connection and pull again: it resumes",
            Self::NotThere { .. } => "put the files of the net into the folder, under their published names",
            Self::DiskFull { .. } => "free some space, or move the weights folder to a larger disk",
            Self::Busy { .. } => "wait for it, or cancel it",
            Self::Io { .. } => "check the rights on the weights folder and the disk below it",
            Self::Cancelled => "",
        }
    }

    pub fn kind(&self) -> StageErrorKind {
        match self {
            Self::Damaged { .. }
            | Self::Tensor { .. }
            | Self::MissingKeys { .. }
            | Self::Setting { .. }
            | Self::WrongBytes { .. }
            | Self::Lied { .. }
            | Self::Address { .. }
            | Self::NotThere { .. } => StageErrorKind::InvalidInput,
            Self::Truncated { .. } => StageErrorKind::Truncated,
            Self::Unsupported { .. } | Self::RunsCode { .. } => StageErrorKind::Unsupported,
            Self::TooLarge { .. } => StageErrorKind::TooLarge,
            Self::Refused { .. }
            | Self::Network { .. }
            | Self::DiskFull { .. }
            | Self::Busy { .. }
            | Self::Io { .. } => StageErrorKind::Internal,
            Self::Cancelled => StageErrorKind::Cancelled,
        }
    }
}

impl From<WeightsError> for StageError {
    fn from(error: WeightsError) -> Self {
        Self::new(error.kind(), error.to_string(), error.hint())
    }
}
