//! What can end a command, its exit code and how it is told.

use std::process::ExitCode;

use meshkiln_protocol::error::{CallErrorData, ErrorKind};

/// Exit codes, as printed by `meshkiln help`. 2 is clap's for a wrong command line.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a job failed, or a check found an error
  2    the command line is wrong
  3    the daemon cannot be reached or started
  4    the daemon refused the call
  130  interrupted; the jobs waited for were cancelled";

#[derive(Debug)]
pub enum Failure {
    /// Already told, job by job.
    JobsFailed,
    /// A file or argument that makes no sense before the daemon is asked.
    Usage {
        message: String,
        hint: String,
    },
    /// No daemon, or it went away.
    Unreachable {
        message: String,
        hint: String,
    },
    Refused {
        message: String,
        data: Option<CallErrorData>,
    },
    Interrupted,
    /// Whoever reads our output has gone: nothing more to say.
    OutputClosed,
}

impl Failure {
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Usage { message: message.into(), hint: hint.into() }
    }

    pub fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Unreachable { message: message.into(), hint: hint.into() }
    }

    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Failure::Refused { data: Some(data), .. } => Some(data.kind),
            _ => None,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::JobsFailed => 1,
            Failure::Usage { .. } => 2,
            Failure::Unreachable { .. } => 3,
            Failure::Refused { .. } => 4,
            Failure::Interrupted => 130,
            Failure::OutputClosed => 0,
        })
    }

    pub fn print(&self) {
        let (message, hint) = match self {
            Failure::JobsFailed | Failure::OutputClosed => return,
            Failure::Interrupted => ("interrupted: what was going on has been cancelled", ""),
            Failure::Usage { message, hint } | Failure::Unreachable { message, hint } => (&**message, &**hint),
            Failure::Refused { message, data } => (&**message, data.as_ref().map_or("", |d| &*d.hint)),
        };
        eprintln!("meshkiln: {message}");
        if !hint.is_empty() {
            eprintln!("  hint: {hint}");
        }
    }
}
