//! What can go wrong: one list of kinds, for failed calls and for failed jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Codes are ours and positive: JSON-RPC and its libraries use the negative ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A mistake of ours.
    Internal,
    /// The call's parameters, or the picture, make no sense.
    InvalidInput,
    /// No such job, asset, watch, recipe or file.
    NotFound,
    /// Too much at once; the same call may succeed later.
    Busy,
    OutOfMemory,
    WeightsMissing,
    ShuttingDown,
    /// The disk is full, or may not be written.
    Storage,
    /// The file ends before it should.
    Truncated,
    /// A format that is not read.
    Unsupported,
    /// Over a limit.
    TooLarge,
    /// No object could be told from its background.
    NoObject,
    /// The finished asset did not pass the gate.
    GateFailed,
    /// A file that Meshkiln did not write stands where the asset should go.
    OutputExists,
    /// The worker crashed or hung.
    WorkerLost,
    /// The job is not in a state that allows this.
    WrongState,
    /// A net's weights are here, and are not what they should be.
    WeightsDamaged,
}

impl ErrorKind {
    pub const ALL: &[ErrorKind] = &[
        ErrorKind::Internal,
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Busy,
        ErrorKind::OutOfMemory,
        ErrorKind::WeightsMissing,
        ErrorKind::ShuttingDown,
        ErrorKind::Storage,
        ErrorKind::Truncated,
        ErrorKind::Unsupported,
        ErrorKind::TooLarge,
        ErrorKind::NoObject,
        ErrorKind::GateFailed,
        ErrorKind::OutputExists,
        ErrorKind::WorkerLost,
        ErrorKind::WrongState,
        ErrorKind::WeightsDamaged,
    ];

    /// JSON-RPC error code.
    pub fn code(self) -> i32 {
        1000 + Self::ALL.iter().position(|&kind| kind == self).map_or(0, |i| i as i32)
    }

    /// Whether the same call or job may succeed later without a change by the caller.
    pub fn retryable(self) -> bool {
        matches!(self, Self::Busy | Self::OutOfMemory | Self::ShuttingDown | Self::Storage | Self::WorkerLost)
    }
}

/// The `error` member of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallError {
    /// Ours from 1000, JSON-RPC's own below 0.
    pub code: i32,
    pub message: String,
    pub data: CallErrorData,
}

/// `data` of a JSON-RPC error object: the call failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallErrorData {
    pub kind: ErrorKind,
    /// What to do, as an action.
    pub hint: String,
    pub retryable: bool,
}

/// Why a job failed. A failed job is an answer, not an error of the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    pub kind: ErrorKind,
    /// Stage it happened in, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    pub message: String,
    /// What to do, as an action.
    pub hint: String,
    pub retryable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_clients_know() {
        assert_eq!(ErrorKind::Internal.code(), 1000);
        assert_eq!(ErrorKind::InvalidInput.code(), 1001);
        assert_eq!(ErrorKind::ShuttingDown.code(), 1006);
        assert_eq!(ErrorKind::WrongState.code(), 1015);
        assert_eq!(ErrorKind::WeightsDamaged.code(), 1016);
    }
}
