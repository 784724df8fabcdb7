//! What daemon and worker say to each other over the worker's stdin and stdout.
//!
//! A frame is a little-endian u32 length and that many bytes of JSON. Large data
//! never travels here: inputs and outputs are blobs, named by SHA-256. A `Run`
//! says everything about the work and nothing about who wants it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use meshkiln_models::stage::Settings;
use meshkiln_protocol::{
    cutout::{CutoutFrame, CutoutMask, CutoutPoint},
    net::DeviceMemory,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

/// Longest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    Run(Run),
    /// Stop working on this run as soon as possible; answer `Failed` with `cancelled`.
    Cancel {
        run: u64,
    },
    /// Bring a net into the device's memory. Answered with `Loaded` or `LoadFailed`.
    Load {
        /// Unique within the daemon's life; names the loaded net from now on.
        load: u64,
        net: String,
    },
    /// Let go of what this load brought. Answered with `Unloaded`, also when it is not there.
    Unload {
        load: u64,
        net: String,
    },
    /// Look at a picture with a net, and say what a prompt means on it. Answered with `Answered` or `Failed`.
    Ask(Ask),
    /// Nothing to do for a while: give memory back.
    Trim,
    /// Finish nothing, leave with exit code 0.
    Exit,
}

/// Run one stage on these blobs with these settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Unique within the daemon's life.
    pub run: u64,
    pub stage: String,
    pub engine: String,
    pub settings: Settings,
    /// Slot id to SHA-256 of its blob.
    pub inputs: BTreeMap<String, String>,
    /// Slot id to a small JSON value that is no blob: `provenance`.
    pub inline: BTreeMap<String, Json>,
    /// Nets the engine needs; all of them have been loaded.
    #[serde(default)]
    pub nets: Vec<String>,
}

/// What is seen in a picture, for a client that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Numbered with the runs.
    pub run: u64,
    /// It has been loaded.
    pub net: String,
    /// The picture as the user has it, as a blob.
    pub source_sha256: String,
    /// `None`: it is only looked at.
    pub prompt: Option<Prompt>,
}

/// Places in pixels of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub points: Vec<CutoutPoint>,
    pub frame: Option<CutoutFrame>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// Of the picture, upright, in pixels.
    pub width: u32,
    pub height: u32,
    /// It had not been seen before, or that had been forgotten.
    pub embedded: bool,
    /// Of the masks.
    pub mask_width: u32,
    pub mask_height: u32,
    /// Best first.
    pub masks: Vec<CutoutMask>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// First frame: ready for work.
    Ready {
        pid: u32,
        version: String,
        /// Of the device, with nothing loaded. `None` wherever it cannot be told.
        #[serde(default)]
        memory: Option<DeviceMemory>,
    },
    /// Each second, also while busy.
    Heartbeat {
        rss_bytes: u64,
        #[serde(default)]
        memory: Option<DeviceMemory>,
    },
    /// The net is there and stays until `Unload`.
    Loaded {
        load: u64,
        /// It holds so much more than before the load.
        bytes: u64,
        /// Loading took so much more than before, at the most.
        peak_bytes: u64,
        elapsed_ms: u64,
        memory: Option<DeviceMemory>,
    },
    /// Nothing of the net is there.
    LoadFailed {
        load: u64,
        failure: Failure,
        memory: Option<DeviceMemory>,
    },
    /// Measured after the memory was given back.
    Unloaded {
        load: u64,
        memory: Option<DeviceMemory>,
    },
    Progress {
        run: u64,
        done: u32,
        total: u32,
    },
    /// The outputs are durable in the blob store.
    Done {
        run: u64,
        outputs: BTreeMap<String, Output>,
        elapsed_ms: u64,
        peak_rss_bytes: u64,
        /// Device memory the run took on top of what was there before, at the most.
        #[serde(default)]
        working_bytes: u64,
        #[serde(default)]
        memory: Option<DeviceMemory>,
    },
    /// To an `Ask`.
    Answered {
        run: u64,
        looked: Looked,
        elapsed_ms: u64,
        working_bytes: u64,
        memory: Option<DeviceMemory>,
    },
    /// A run or an ask.
    Failed {
        run: u64,
        failure: Failure,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    InvalidInput,
    Truncated,
    Unsupported,
    TooLarge,
    NoObject,
    GateFailed,
    Cancelled,
    Internal,
    /// The memory of the device did not suffice. The device works on.
    OutOfMemory,
    /// A net's weights are not on this machine.
    WeightsMissing,
    /// A net's weights are here, and are not what they should be.
    WeightsDamaged,
    /// The device has failed in a way that this process cannot mend: every further
    /// call would fail too. The process ends.
    DeviceFault,
    /// A blob this run reads is missing or damaged: its stage must run again.
    InputLost,
    /// The blob store could not be written: disk full, permissions.
    Storage,
    /// The stage panicked; the worker goes on.
    Panicked,
}

pub fn write_frame(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)?;
    to.flush()
}

/// `None` at the end of the stream.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        let message = format!("frame of {length} bytes is longer than {MAX_FRAME}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_pipe_and_lies_are_refused() {
        let report = Report::Progress { run: 7, done: 1, total: 2 };
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &report).unwrap();
        write_frame(&mut pipe, &report).unwrap();
        let mut reader = pipe.as_slice();
        assert_eq!(read_frame::<Report>(&mut reader).unwrap(), Some(report.clone()));
        assert_eq!(read_frame::<Report>(&mut reader).unwrap(), Some(report));
        assert_eq!(read_frame::<Report>(&mut reader).unwrap(), None);

        assert!(read_frame::<Report>(&mut [255u8; 8].as_slice()).is_err());
        assert!(read_frame::<Report>(&mut [9u8, 0, 0, 0, b'{'].as_slice()).is_err());
    }
}
