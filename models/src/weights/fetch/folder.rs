//! Files from a folder: a copy on a stick, a shared drive, another machine's weights.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    super::{Result, WeightsError, digest, save},
    Pull, Wanted, partial, room_for,
    state::Seen,
};

/// Copies and verifies; the folder is only read. An interrupted copy starts again.
pub fn fetch(wanted: &Wanted, from: &Path, how: &Pull, report: &mut dyn FnMut(u64, Option<u64>)) -> Result<Seen> {
    let source = find(wanted, from)?;
    let io = |error: std::io::Error| WeightsError::io(source.display(), &error);
    let mut file = File::open(&source).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    // A file of another size is not worth reading.
    wanted.check(&Seen { bytes: total, sha256: wanted.expected.sha256.clone().unwrap_or_default() })?;
    if wanted.expected.bytes.is_none() {
        room_for(total, wanted.target.parent().unwrap_or(wanted.target), how)?;
    }
    let part = partial::path(wanted.target);
    partial::remove(wanted.target)?;
    let result = copy(&mut file, &source, &part, total, how, report).and_then(|(out, seen)| {
        wanted.check(&seen)?;
        save::publish(&out, &part, wanted.target)?;
        Ok(seen)
    });
    if result.is_err() {
        let _ = partial::remove(wanted.target); // what went wrong before is what matters
    }
    result
}

fn copy(
    file: &mut File,
    source: &Path,
    part: &Path,
    total: u64,
    how: &Pull,
    report: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(File, Seen)> {
    let mut out = File::create(part).map_err(|error| WeightsError::io(part.display(), &error))?;
    let mut hasher = Sha256::new();
    let mut done = 0;
    report(done, Some(total));
    let bytes = digest::copy(file, &mut out, &mut hasher, source, how.cancel, &mut |n| {
        done += n;
        report(done, Some(total));
    })?;
    Ok((out, Seen { bytes, sha256: digest::hex(&hasher) }))
}

/// The first place of those that people use.
fn find(wanted: &Wanted, from: &Path) -> Result<PathBuf> {
    let (net, name) = (wanted.net, wanted.file.path);
    let repository = from.join(net.repository);
    let flat = name.rsplit('/').next().unwrap_or(name);
    let places = [
        from.join(net.id).join(name),
        repository.join("resolve").join(net.revision_or_main()).join(name),
        repository.join(name),
        from.join(name),
        from.join(flat),
    ];
    let found = places.into_iter().find(|place| fs::metadata(place).is_ok_and(|found| found.is_file()));
    found.ok_or_else(|| WeightsError::NotThere { file: name.to_owned(), folder: from.display().to_string() })
}
