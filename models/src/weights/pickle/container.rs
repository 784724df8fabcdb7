//! Where the storages of an open checkpoint lie, and reading them.

use std::io::{Read, SeekFrom};

use flate2::{Crc, read::DeflateDecoder};

use super::{Result, Source, WeightsError};

const CHUNK: usize = 1 << 20;

pub struct Container {
    pub file: String,
    source: Box<dyn Source>,
    storages: Vec<Place>,
    /// The storage read last as a whole: tensors that share one follow each other.
    cached: Option<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub at: u64,
    /// Length in the file where the bytes are deflated.
    pub deflated: Option<u64>,
    pub n_bytes: u64,
    pub crc: Option<u32>,
}

impl Container {
    /// `storages` in the order of the pickle's declarations, each within the file.
    pub fn new(source: Box<dyn Source>, file: &str, storages: Vec<Place>) -> Self {
        Self { file: file.to_owned(), source, storages, cached: None }
    }

    /// Bytes of all storages.
    pub fn total_storage(&self) -> u64 {
        self.storages.iter().map(|place| place.n_bytes).fold(0, u64::saturating_add)
    }

    pub fn place(&self, storage: usize) -> &Place {
        &self.storages[storage]
    }

    /// A whole storage, in chunks, its checksum compared at the end.
    pub fn stream(&mut self, storage: usize, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let place = self.storages[storage];
        stream(&mut *self.source, &self.file, &place, sink)
    }

    /// `n` bytes from `offset` of a storage that is not deflated. No checksum covers a part.
    pub fn stream_part(
        &mut self,
        storage: usize,
        offset: u64,
        n: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let place = self.storages[storage];
        let part = Place { at: place.at + offset, deflated: None, n_bytes: n, crc: None };
        stream(&mut *self.source, &self.file, &part, sink)
    }

    /// A whole storage in memory, until another one is asked for.
    pub fn load(&mut self, storage: usize) -> Result<&[u8]> {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != storage) {
            self.cached = None;
            let place = self.storages[storage];
            let mut bytes = Vec::new();
            if place.deflated.is_none() {
                bytes.reserve_exact(place.n_bytes as usize); // they are in the file
            }
            stream(&mut *self.source, &self.file, &place, &mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })?;
            self.cached = Some((storage, bytes));
        }
        Ok(self.cached.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

/// The bytes at `place`, unpacked, in chunks of at most a megabyte.
pub fn stream(
    source: &mut dyn Source,
    file: &str,
    place: &Place,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    source.seek(SeekFrom::Start(place.at)).map_err(|error| WeightsError::io(file, &error))?;
    match place.deflated {
        None => pump(&mut source.take(place.n_bytes), file, place, sink),
        Some(n) => pump(&mut DeflateDecoder::new(source.take(n)), file, place, sink),
    }
}

fn pump(bytes: &mut dyn Read, file: &str, place: &Place, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let damaged = |what: String| WeightsError::Damaged { file: file.to_owned(), what };
    let mut chunk = vec![0; CHUNK.min(place.n_bytes as usize + 1)];
    let mut crc = Crc::new();
    let mut left = place.n_bytes;
    loop {
        let n = match bytes.read(&mut chunk) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if place.deflated.is_some() => return Err(damaged(format!("unpacking failed: {error}"))),
            Err(error) => return Err(WeightsError::io(file, &error)),
        };
        if n == 0 {
            break;
        }
        left =
            left.checked_sub(n as u64).ok_or_else(|| damaged(format!("more than {} bytes unpack", place.n_bytes)))?;
        if place.crc.is_some() {
            crc.update(&chunk[..n]);
        }
        sink(&chunk[..n])?;
    }
    if left > 0 {
        let what = format!("{} bytes were announced, {} are there", place.n_bytes, place.n_bytes - left);
        return Err(WeightsError::Truncated { file: file.to_owned(), what });
    }
    match place.crc {
        Some(expected) if expected != crc.sum() => {
            Err(damaged(format!("a checksum should be {expected:08x}, is {:08x}", crc.sum())))
        }
        _ => Ok(()),
    }
}
