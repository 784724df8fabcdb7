//! Paths that clients send, and the files behind them.
//!
//! What is refused is refused as text first: asking for a network path already
//! tells somebody's server who we are. What is opened is a regular file, and
//! opening never waits.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use meshkiln_protocol::error::ErrorKind;

use super::{
    convert::{self, CallError},
    limits,
};
use crate::{
    durable,
    store::blobs::{Blob, BlobStore, PutError},
};

const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 128;

/// An absolute path on this machine, checked as text only. `field` is what the
/// client called it.
pub fn check_path(field: &str, text: &str) -> Result<PathBuf, CallError> {
    let wrong = |message: String, hint: &str| Err(convert::invalid(message, hint));
    let shown = || text.chars().take(200).collect::<String>().escape_debug().to_string();
    let mut start = text.chars();
    let is_separator = |c| matches!(c, Some('/' | '\\'));
    if is_separator(start.next()) && (is_separator(start.next()) || text.starts_with("\\??")) {
        return wrong(
            format!("`{field}`: network and device paths are not read"),
            "give a path on a drive of this machine",
        );
    }
    if text.contains('\0') || text.len() > LONGEST_PATH {
        return wrong(format!("`{field}`: `{}` is not a path", shown()), "give the path of a file");
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return wrong(format!("`{field}` must be an absolute path, not `{}`", shown()), "give the whole path");
    }
    if cfg!(windows) && path.components().any(|part| is_device_name(part.as_os_str().to_str().unwrap_or_default())) {
        return wrong(format!("`{field}`: `{}` names a device", shown()), "give the path of a file");
    }
    Ok(path.to_owned())
}

/// Opens a source that a person named: links are followed, folders, pipes and
/// devices are not read, nor is what is too large.
pub fn open(path: &Path) -> Result<File, CallError> {
    let file = open_any_size(path)?;
    let bytes = file.metadata().map_or(0, |found| found.len());
    if bytes > limits::BLOB_BYTES {
        return Err(put_failed(&path.display().to_string(), PutError::TooLarge { bytes, limit: limits::BLOB_BYTES }));
    }
    Ok(file)
}

/// The same for files that are not copied.
pub fn open_any_size(path: &Path) -> Result<File, CallError> {
    let shown = path.display();
    let cannot = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => convert::not_found(format!("{shown} is not there"), "check the path"),
        io::ErrorKind::PermissionDenied => {
            convert::invalid(format!("{shown} may not be read"), "let your user read it, or copy it elsewhere")
        }
        _ => convert::invalid(format!("{shown} cannot be read: {e}"), "check the file and its drive"),
    };
    // Looked at first: opening a device may already do something.
    check_kind(path, &fs::metadata(path).map_err(cannot)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path).map_err(cannot)?;
    check_kind(path, &file.metadata().map_err(cannot)?)?;
    Ok(file)
}

/// Copies the file into the blob store, durably.
pub fn snapshot(blobs: &BlobStore, path: &Path) -> Result<Blob, CallError> {
    let file = open(path)?;
    blobs.put_file(&file, limits::BLOB_BYTES).map_err(|e| put_failed(&path.display().to_string(), e))
}

pub fn put_failed(what: &str, error: PutError) -> CallError {
    match error {
        PutError::TooLarge { bytes, limit } => convert::refused(
            ErrorKind::TooLarge,
            format!("{what} has {bytes} bytes, more than {limit}"),
            "make the picture smaller",
        ),
        PutError::Changed => convert::refused(
            ErrorKind::Busy,
            format!("{what} changed while it was read"),
            "wait until it is written, then try again",
        ),
        PutError::NotAFile | PutError::WrongDigest { .. } => {
            convert::invalid(format!("{what}: {error}"), "give the path of a picture")
        }
        PutError::Read(e) => convert::invalid(format!("{what} cannot be read: {e}"), "check the file and its drive"),
        PutError::Write(e) if durable::is_full(&e) => {
            convert::refused(ErrorKind::Storage, format!("the disk is full: {e}"), "free some space, then try again")
        }
        PutError::Write(e) => convert::refused(
            ErrorKind::Storage,
            format!("the blob store cannot be written: {e}"),
            "`meshkiln doctor` looks for the reason",
        ),
    }
}

/// Name of an asset, as a client gave it.
pub fn check_name(name: &str) -> Result<String, CallError> {
    let is_sound = !name.trim().is_empty()
        && name.chars().count() <= LONGEST_NAME
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'));
    if is_sound {
        return Ok(name.to_owned());
    }
    let message = format!("`{}` is not a name for an asset", name.chars().take(200).collect::<String>().escape_debug());
    Err(convert::invalid(message, format!("use 1 to {LONGEST_NAME} characters without slashes")))
}

/// Name of an asset made of a file: its name without extension.
pub fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let sound: String = stem.chars().map(|c| if c.is_control() { '_' } else { c }).take(LONGEST_NAME).collect();
    if sound.trim().is_empty() { "asset".to_owned() } else { sound }
}

fn check_kind(path: &Path, found: &fs::Metadata) -> Result<(), CallError> {
    let shown = path.display();
    if found.is_dir() {
        return Err(convert::invalid(
            format!("{shown} is a folder"),
            "give a picture, or watch the folder with `meshkiln watch add`",
        ));
    }
    if !found.is_file() {
        return Err(convert::invalid(format!("{shown} is not a regular file"), "give the path of a picture"));
    }
    // Also what /proc and its like show as files.
    if found.len() == 0 {
        return Err(convert::invalid(format!("{shown} is empty"), "save the picture again"));
    }
    Ok(())
}

/// `CON`, `nul.png`, `COM1`, ...: Windows gives a device whatever the folder.
fn is_device_name(part: &str) -> bool {
    let stem = part.split(['.', ':']).next().unwrap_or_default().trim_end().to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => stem
            .strip_prefix("COM")
            .or_else(|| stem.strip_prefix("LPT"))
            .is_some_and(|n| matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: CallError) -> String {
        match error {
            CallError::Refused(refusal) => refusal.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_judged_as_text() {
        let long = format!("/{}", "a".repeat(LONGEST_PATH));
        for bad in [
            "",
            "a.png",
            "./a.png",
            "../a.png",
            "~/a.png",
            "//host/share/a.png",
            "\\\\host\\share\\a.png",
            "\\\\?\\C:\\a.png",
            "\\\\.\\PhysicalDrive0",
            "\\??\\C:\\a.png",
            "/\\host\\a.png",
            "\\/host/a.png",
            "/a\0.png",
            "file:///a.png",
            &long,
        ] {
            assert!(check_path("source.path", bad).is_err(), "{bad:?}");
        }
        let good = if cfg!(windows) { "C:\\pictures\\a.png" } else { "/pictures/a.png" };
        assert_eq!(check_path("source.path", good).unwrap(), Path::new(good));
    }

    #[test]
    fn devices_of_windows_are_known() {
        for device in ["con", "NUL.png", "Com1", "lpt9.txt", "aux ", "com¹", "nul:stream"] {
            assert!(is_device_name(device), "{device}");
        }
        for file in ["console.png", "com.png", "com10", "null", "a.con"] {
            assert!(!is_device_name(file), "{file}");
        }
    }

    #[test]
    fn only_regular_files_with_something_in_them_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("good.png"), "x").unwrap();
        fs::write(path("empty.png"), "").unwrap();
        File::create(path("huge.png")).unwrap().set_len(limits::BLOB_BYTES + 1).unwrap();
        assert!(open(&path("good.png")).is_ok());
        assert!(message(open(&path("none.png")).err().unwrap()).ends_with("is not there"));
        assert!(message(open(&path("empty.png")).err().unwrap()).ends_with("is empty"));
        assert!(message(open(&path("huge.png")).err().unwrap()).ends_with("has 67108865 bytes, more than 67108864"));
        assert!(message(open(dir.path()).err().unwrap()).ends_with("is a folder"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("good.png"), path("link.png")).unwrap();
            assert!(open(&path("link.png")).is_ok(), "a person may name a link");
            let pipe = std::process::Command::new("mkfifo").arg(path("pipe.png")).status().unwrap();
            assert!(pipe.success());
            assert!(message(open(&path("pipe.png")).err().unwrap()).ends_with("is not a regular file"));
            assert!(message(open(Path::new("/dev/zero")).err().unwrap()).ends_with("is not a regular file"));
        }
        #[cfg(target_os = "linux")]
        assert!(message(open(Path::new("/proc/self/environ")).err().unwrap()).ends_with("is empty"));
    }

    #[test]
    fn names_come_from_files_or_are_checked() {
        assert_eq!(name_of(Path::new("/a/lantern.v2.png")), "lantern.v2");
        assert_eq!(name_of(Path::new("/a/\u{1}x.png")), "_x");
        assert_eq!(name_of(Path::new("/")), "asset");
        assert!(check_name("Laterne im Regen").is_ok());
        for bad in ["", "  ", "a/b", "a\\b", "a\nb", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
