//! SHA-256 of bytes as they stream by.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{Result, WeightsError};
use crate::cx::CancelToken;

pub const CHUNK: usize = 1 << 20;

/// Lower-case hexadecimal.
pub fn hex(hasher: &Sha256) -> String {
    hasher.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `from` to its end into `to` and `hasher`;
/// `step` hears of the bytes of each chunk. Returns the number of bytes.
pub fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    hasher: &mut Sha256,
    file: &Path,
    cancel: &CancelToken,
    step: &mut dyn FnMut(u64),
) -> Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(WeightsError::Cancelled);
        }
        let n = match from.read(&mut chunk) {
            Ok(0) => return Ok(done),
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(WeightsError::io(file.display(), &error)),
        };
        hasher.update(&chunk[..n]);
        to.write_all(&chunk[..n]).map_err(|error| WeightsError::io(file.display(), &error))?;
        done += n as u64;
        step(n as u64);
    }
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub fn of_file(path: &Path, cancel: &CancelToken) -> Result<String> {
    let mut file = File::open(path).map_err(|error| WeightsError::io(path.display(), &error))?;
    let mut hasher = Sha256::new();
    copy(&mut file, &mut std::io::sink(), &mut hasher, path, cancel, &mut |_| {})?;
    Ok(hex(&hasher))
}
