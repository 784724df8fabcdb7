//! Directory of a zip archive, as far as torch writes them: stored and deflated
//! entries, 64-bit sizes, no encryption, one disk.
//!
//! Format: PKWARE's APPNOTE, sections 4.3 and 4.5.3. Every size is held against
//! the length of the file before it is believed: entries cannot overlap in sum,
//! stored sizes agree, and a deflated entry cannot claim more than deflate can give.

use std::{collections::HashMap, io::SeekFrom};

use super::{Result, Source, WeightsError};

const MAX_ENTRIES: u64 = 200_000;
const MAX_DIRECTORY: u64 = 64 << 20;
/// Deflate's highest ratio is 1032 (zlib's technical notes).
const MAX_RATIO: u64 = 1032;
/// Over this size a ratio of more than 100 is a bomb, not weights.
const BOMB_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub method: Method,
    /// In the file.
    pub compressed: u64,
    pub n_bytes: u64,
    pub crc: u32,
    header_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

pub struct Directory<'a> {
    pub file: &'a str,
    pub entries: HashMap<String, Entry>,
    /// Start of the directory: entries lie before it.
    at: u64,
}

impl<'a> Directory<'a> {
    pub fn read(source: &mut dyn Source, file: &'a str) -> Result<Self> {
        let len = source.seek(SeekFrom::End(0)).map_err(|error| WeightsError::io(file, &error))?;
        let (at, n_bytes, n_entries) = find_directory(source, file, len)?;
        let damaged = |what: &str| WeightsError::Damaged { file: file.to_owned(), what: what.to_owned() };
        if at.checked_add(n_bytes).is_none_or(|end| end > len) {
            return Err(damaged("the archive's directory lies outside of the file"));
        }
        let limits =
            [("the archive's directory", n_bytes, MAX_DIRECTORY), ("the number of entries", n_entries, MAX_ENTRIES)];
        for (what, found, limit) in limits {
            if found > limit {
                return Err(WeightsError::TooLarge { file: file.to_owned(), what: what.to_owned(), found, limit });
            }
        }
        let bytes = read_at(source, file, at, n_bytes)?;
        let mut rest = bytes.as_slice();
        let mut entries = HashMap::new();
        let mut total = 0_u64;
        for _ in 0..n_entries {
            let (name, entry) = directory_entry(&mut rest, file)?;
            total = total.saturating_add(entry.compressed);
            if entries.insert(name, entry).is_some() {
                return Err(damaged("two entries of the archive have one name"));
            }
        }
        if total > len {
            return Err(damaged("the entries of the archive are larger than the file"));
        }
        Ok(Self { file, entries, at })
    }

    /// Where the bytes of an entry begin. Its own header must agree with the directory.
    pub fn data_at(&self, source: &mut dyn Source, name: &str, entry: &Entry) -> Result<u64> {
        let damaged =
            |what: &str| WeightsError::Damaged { file: self.file.to_owned(), what: format!("entry `{name}`: {what}") };
        if entry.header_at >= self.at {
            return Err(damaged("its header lies outside of the entries"));
        }
        let header = read_at(source, self.file, entry.header_at, 30)?;
        let field = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let method = match entry.method {
            Method::Stored => 0,
            Method::Deflated => 8,
        };
        if header[..4] != *b"PK\x03\x04" || field(8) != method {
            return Err(damaged("its header is not the one in the directory"));
        }
        let data_at = entry.header_at + 30 + field(26) + field(28);
        match data_at.checked_add(entry.compressed) {
            Some(end) if end <= self.at => Ok(data_at),
            _ => Err(damaged("it ends outside of the entries")),
        }
    }
}

/// (start, bytes, entries) of the directory.
fn find_directory(source: &mut dyn Source, file: &str, len: u64) -> Result<(u64, u64, u64)> {
    // The end record is 22 bytes and a comment of at most 65,535.
    let tail_at = len.saturating_sub(22 + 65_535);
    let tail = read_at(source, file, tail_at, len - tail_at)?;
    let is_end = |at: &usize| {
        let record = &tail[*at..];
        record.len() >= 22
            && record.starts_with(b"PK\x05\x06")
            && usize::from(u16::from_le_bytes([record[20], record[21]])) == record.len() - 22
    };
    let Some(end) = (0..tail.len()).rev().find(is_end) else {
        let what = "the archive has no directory at its end".to_owned();
        return Err(WeightsError::Truncated { file: file.to_owned(), what });
    };
    let damaged = |what: &str| WeightsError::Damaged { file: file.to_owned(), what: what.to_owned() };
    let mut record = &tail[end + 4..];
    let (disk, directory_disk) = (number(&mut record, 2), number(&mut record, 2));
    let (_, n_entries) = (number(&mut record, 2), number(&mut record, 2));
    let (n_bytes, at) = (number(&mut record, 4), number(&mut record, 4));
    let small = n_entries != Some(0xffff) && n_bytes != Some(0xffff_ffff) && at != Some(0xffff_ffff);
    let end = tail_at + end as u64;
    if small || end < 20 {
        return match (disk, directory_disk, at, n_bytes, n_entries) {
            (Some(0), Some(0), Some(at), Some(n_bytes), Some(n_entries)) => Ok((at, n_bytes, n_entries)),
            _ => Err(damaged("the archive is spread over several disks")),
        };
    }
    let locator = read_at(source, file, end - 20, 20)?;
    let mut fields = &locator[..];
    if number(&mut fields, 4) != Some(0x0706_4b50) {
        return Err(damaged("the archive announces 64-bit sizes and has none"));
    }
    let (_, record_at) = (number(&mut fields, 4), number(&mut fields, 8).unwrap_or(u64::MAX));
    if record_at.checked_add(56).is_none_or(|end| end > len) {
        return Err(damaged("the archive's end record lies outside of the file"));
    }
    let record = read_at(source, file, record_at, 56)?;
    let mut fields = &record[24..];
    if !record.starts_with(b"PK\x06\x06") {
        return Err(damaged("the archive announces 64-bit sizes and has none"));
    }
    let (_, n_entries) = (number(&mut fields, 8), number(&mut fields, 8));
    match (number(&mut fields, 8), number(&mut fields, 8), n_entries) {
        (Some(n_bytes), Some(at), Some(n_entries)) => Ok((at, n_bytes, n_entries)),
        _ => Err(damaged("the archive's end record is cut")),
    }
}

fn directory_entry(rest: &mut &[u8], file: &str) -> Result<(String, Entry)> {
    let damaged = |what: &str| WeightsError::Damaged { file: file.to_owned(), what: what.to_owned() };
    let cut = || damaged("the archive's directory is cut");
    let mut number = |n| number(rest, n).ok_or_else(cut);
    if number(4)? != 0x0201_4b50 {
        return Err(damaged("the archive's directory does not hold what it should"));
    }
    let (_made_by, _needs, flags, method) = (number(2)?, number(2)?, number(2)?, number(2)?);
    let (_time, _day, crc) = (number(2)?, number(2)?, number(4)? as u32);
    let (mut compressed, mut n_bytes) = (number(4)?, number(4)?);
    let (name_len, extra_len, comment_len) = (number(2)? as usize, number(2)? as usize, number(2)? as usize);
    let (_disk, _internal, _external, mut header_at) = (number(2)?, number(2)?, number(4)?, number(4)?);
    let total = name_len + extra_len + comment_len;
    let (texts, after) = rest.split_at_checked(total).ok_or_else(cut)?;
    *rest = after;
    let name = match std::str::from_utf8(&texts[..name_len]) {
        Ok(name) if name.len() <= super::MAX_NAME => name.to_owned(),
        _ => return Err(damaged("an entry of the archive has no readable name")),
    };
    // Sizes that need 64 bits are in the extra field 1, those only, in this order.
    let mut extra = &texts[name_len..name_len + extra_len];
    while let (Some(tag), Some(len)) = (self::number(&mut extra, 2), self::number(&mut extra, 2)) {
        let Some((mut field, after)) = extra.split_at_checked(len as usize) else { break };
        extra = after;
        if tag == 1 {
            for value in [&mut n_bytes, &mut compressed, &mut header_at] {
                if *value == 0xffff_ffff {
                    *value = self::number(&mut field, 8).ok_or_else(cut)?;
                }
            }
        }
    }
    let unsupported = |found: &str| WeightsError::Unsupported {
        file: file.to_owned(),
        found: format!("the entry `{name}`, {found}"),
        hint: "save the checkpoint again with a current torch",
    };
    let method = match method {
        _ if flags & 1 != 0 => return Err(unsupported("which is encrypted")),
        0 if compressed != n_bytes => return Err(damaged(&format!("entry `{name}` has two sizes"))),
        0 => Method::Stored,
        8 => Method::Deflated,
        _ => return Err(unsupported(&format!("which is compressed by method {method}"))),
    };
    if n_bytes > compressed.saturating_mul(MAX_RATIO).saturating_add(1024) {
        return Err(damaged(&format!("entry `{name}` cannot hold the {n_bytes} bytes it announces")));
    }
    let limit = BOMB_BYTES.max(compressed.saturating_mul(100));
    if n_bytes > limit {
        let what = format!("the unpacked size of entry `{name}`");
        return Err(WeightsError::TooLarge { file: file.to_owned(), what, found: n_bytes, limit });
    }
    Ok((name, Entry { method, compressed, n_bytes, crc, header_at }))
}

/// Takes a little-endian number of `n` bytes, at most 8, off the front.
fn number(bytes: &mut &[u8], n: usize) -> Option<u64> {
    let (taken, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    let mut wide = [0; 8];
    wide[..n].copy_from_slice(taken);
    Some(u64::from_le_bytes(wide))
}

/// `n` bytes that the caller has seen to be within the file, or few.
fn read_at(source: &mut dyn Source, file: &str, at: u64, n: u64) -> Result<Vec<u8>> {
    let io = |error: std::io::Error| WeightsError::io(file, &error);
    source.seek(SeekFrom::Start(at)).map_err(io)?;
    let mut bytes = vec![0; n as usize];
    source.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}
