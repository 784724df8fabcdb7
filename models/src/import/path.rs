//! References from one file to another: what is followed and what is refused.
//!
//! A mesh file is a stranger's text, so it may only name files in its own folder
//! and below. `resolve_uri` is for glTF, whose references are URIs; `resolve_path`
//! for OBJ, MTL and PLY, whose references are plain paths. Both give a path with
//! `/` between its parts and none of them empty, `.` or `..`. Whoever opens it
//! still has to see to links in the file system.

use std::collections::BTreeSet;

use data_url::DataUrl;
use percent_encoding::percent_decode_str;

use super::shorten;
use crate::error::StageError;

/// Longest path that is followed, in bytes.
const MAX_LENGTH: usize = 1024;

/// Where the content of a glTF reference is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Relative to the main file's folder.
    File(String),
    /// The content itself, from a `data:` URI.
    Data(Vec<u8>),
}

/// Paths in order of appearance, each once.
#[derive(Default)]
pub(super) struct Paths {
    list: Vec<String>,
    known: BTreeSet<String>,
}

impl Paths {
    pub fn add(&mut self, path: String) {
        if self.known.insert(path.clone()) {
            self.list.push(path);
        }
    }

    /// A plain path, where it may be followed. Whoever reads the file tells of the
    /// others: a mesh is worth having without a picture from another machine's disk.
    pub fn add_if_followed(&mut self, path: &str) {
        if let Ok(path) = resolve_path(path) {
            self.add(path);
        }
    }

    pub fn finish(self) -> Vec<String> {
        self.list
    }
}

/// A URI of a glTF file. `data:` is decoded in place; anything else must be a
/// relative path, whose percent escapes are decoded once.
///
/// Errors: `InvalidInput` for every other scheme, `?` and `#`, escapes that are
/// not UTF-8, and what `resolve_path` refuses before or after decoding.
pub fn resolve_uri(uri: &str) -> Result<Reference, StageError> {
    if uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        let data = DataUrl::process(uri).ok().and_then(|url| url.decode_to_vec().ok());
        let (bytes, _fragment) = data.ok_or_else(|| refused(uri, "is not a valid data URI"))?;
        return Ok(Reference::Data(bytes));
    }
    if uri.contains(['?', '#']) {
        return Err(refused(uri, "has a query or fragment"));
    }
    check(uri, uri)?;
    let path = percent_decode_str(uri).decode_utf8().map_err(|_| refused(uri, "is not UTF-8 once decoded"))?;
    check(uri, &path)?;
    parts(uri, &path).map(Reference::File)
}

/// A path of an OBJ, MTL or PLY file. Nothing is decoded.
///
/// Errors: `InvalidInput` for absolute paths, drive letters, schemes, `\`, `..`,
/// `:`, control characters, a leading `~`, and paths that name nothing or have
/// more than 1024 bytes.
pub fn resolve_path(path: &str) -> Result<String, StageError> {
    check(path, path)?;
    parts(path, path)
}

/// `given` is what the file says, for messages; `path` is what is looked at.
fn check(given: &str, path: &str) -> Result<(), StageError> {
    let reason = if path.len() > MAX_LENGTH {
        "is longer than 1024 bytes"
    } else if path.contains(char::is_control) {
        "has control characters"
    } else if path.contains('\\') {
        "has a backslash"
    } else if path.contains(':') {
        "has a scheme, a drive or a stream"
    } else if path.starts_with('/') {
        "is absolute"
    } else if path.starts_with('~') {
        "starts in a home folder"
    } else if path
        .split('/')
        .any(|part| part.trim() == ".." || part.len() > 1 && part.trim_end_matches([' ', '.']).is_empty())
    {
        "leaves the folder of the mesh"
    } else {
        return Ok(());
    };
    Err(refused(given, reason))
}

fn parts(given: &str, path: &str) -> Result<String, StageError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() || path.ends_with('/') || path.ends_with("/.") {
        return Err(refused(given, "names no file"));
    }
    Ok(parts.join("/"))
}

fn refused(given: &str, reason: &str) -> StageError {
    let given = shorten(given.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect());
    StageError::invalid(
        format!("the reference `{given}` {reason}"),
        "put the file beside the mesh and refer to it by its name, or export a GLB, which holds everything",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Reference {
        Reference::File(path.to_owned())
    }

    #[test]
    fn files_beside_and_below_the_mesh_are_followed() {
        assert_eq!(resolve_uri("a%20b.png").unwrap(), file("a b.png"));
        assert_eq!(resolve_uri("./textures//a.png").unwrap(), file("textures/a.png"));
        assert_eq!(resolve_uri("a%2520b.png").unwrap(), file("a%20b.png"), "decoded once");
        assert_eq!(resolve_uri("na%C3%AFve..png").unwrap(), file("naïve..png"));
        assert_eq!(resolve_uri("a/.hidden").unwrap(), file("a/.hidden"));
        assert_eq!(resolve_path("a%20b.png").unwrap(), "a%20b.png", "paths have no escapes");
        assert_eq!(resolve_path("fuze uv.jpg").unwrap(), "fuze uv.jpg");
        assert_eq!(resolve_uri("data:;base64,aGk=").unwrap(), Reference::Data(b"hi".to_vec()));
        assert_eq!(resolve_uri("DATA:text/plain,a%20b").unwrap(), Reference::Data(b"a b".to_vec()));
    }

    /// Each line is a reference that no mesh file may make, written as a URI.
    const HOSTILE: &[&str] = &[
        "..",
        "../a.png",
        "../../../../etc/passwd",
        "a/../../b",
        "a/..",
        "./..",
        "..//a",
        "a/b/../../../c",
        "%2e%2e/a",
        "%2E%2E/a",
        ".%2e/a",
        "%2e./a",
        "..%2fa",
        "..%2Fa",
        "%2e%2e%2fa",
        "a/%2e%2e/%2e%2e/b",
        "..%5ca",
        "/etc/passwd",
        "//server/share/a",
        "///etc/passwd",
        "%2fetc%2fpasswd",
        "/%2e%2e/a",
        "/",
        "//",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "file:a.bin",
        "FILE:///etc/passwd",
        "fIlE:a",
        "file%3a///etc/passwd",
        "http://example.com/a.bin",
        "https://example.com/a.bin",
        "HTTP://a",
        "ftp://a/b",
        "gopher://a",
        "ws://a",
        "javascript:alert(1)",
        "blob:http://a/b",
        "jar:file:///a!/b",
        "smb://a/b",
        "ssh://a",
        "mailto:a@b",
        "about:blank",
        "ext::sh",
        "s3://bucket/key",
        "x-unknown:a",
        "http:%2f%2fexample.com",
        "C:\\Windows\\win.ini",
        "C:/Windows/win.ini",
        "c:a.bin",
        "C%3A/a",
        "C%3A%5Ca",
        "\\\\server\\share\\a",
        "\\a",
        "a\\b",
        "..\\a",
        "%5c%5cserver%5ca",
        "a%5c..%5cb",
        "\\\\?\\C:\\a",
        "\\\\.\\pipe\\a",
        "a.png:stream",
        "a.png::$DATA",
        "a%00.png",
        "a\0.png",
        "%00",
        "a\n.png",
        "a%0d%0aHost:b",
        "\u{7f}a",
        "",
        ".",
        "./",
        "a/",
        "%2e",
        "././.",
        "a/.",
        " ..",
        ".. /a",
        "... /a",
        "a/... ",
        ".../a",
        "~/.ssh/id_rsa",
        "~root/a",
        "%7e/a",
        "a.png?b",
        "a.png#b",
        "?",
        "#",
        "%ff%fe",
        "a%c0%afb",
        "%c0%ae%c0%ae/a",
        "data:",
        "data:;base64,***",
        "data:;base64",
        "data:;base64,a",
    ];

    #[test]
    fn everything_else_is_refused_with_the_reference_and_what_to_do() {
        assert!(HOSTILE.len() >= 60);
        for uri in HOSTILE {
            let error = resolve_uri(uri).expect_err(uri);
            assert_eq!(error.kind, crate::StageErrorKind::InvalidInput, "{uri}");
            assert!(error.hint.contains("GLB") && !error.message.contains(char::is_control), "{error}");
        }
        let long = "a".repeat(2000);
        let error = resolve_uri(&long).expect_err("2000 bytes");
        assert!(error.message.len() < 400, "{error}");
    }

    #[test]
    fn paths_are_refused_like_uris() {
        let escaped = |uri: &&&str| uri.contains(['%', '?', '#']) || uri.starts_with("data:");
        for path in HOSTILE.iter().filter(|uri| !escaped(uri)) {
            assert!(resolve_path(path).is_err(), "{path}");
        }
        // Escapes mean nothing here: such a path names a file of just that name.
        assert_eq!(resolve_path("%2e%2e/a").unwrap(), "%2e%2e/a");
    }
}
