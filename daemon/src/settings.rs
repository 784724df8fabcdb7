//! `CONFIG/daemon.toml`: what a user may set. A missing file sets nothing, a
//! broken one stops the start, with line and column.

use std::{fs, io, path::Path};

use serde::Deserialize;

pub const FILE: &str = "daemon.toml";
/// A pebibyte: more is a slip of the keyboard.
const MOST_MIB: u64 = 1 << 30;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// TCP port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Pages that may speak to the daemon, compared as whole strings:
    /// `vscode-webview://0k3v1p2n`. They need the token all the same.
    pub origins: Vec<String>,
    /// Most memory that networks may take on a device, in MiB; whatever is free beside a reserve
    /// unless given.
    pub net_memory_mib: Option<u64>,
}

impl Settings {
    pub fn read(config: &Path) -> Result<Settings, String> {
        let path = config.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Settings::parse(&text).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|e| {
            let before = e.span().map(|span| &text[..span.start.min(text.len())]).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {}", e.message())
        })?;
        if settings.net_memory_mib.is_some_and(|mib| mib > MOST_MIB) {
            return Err(format!("net_memory_mib is more than {MOST_MIB}"));
        }
        match settings.origins.iter().find(|origin| origin.contains('*') || !origin.contains("://")) {
            Some(bad) => Err(format!("origin `{bad}` is not a whole origin such as `https://example.org`")),
            None => Ok(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::read(dir.path()), Ok(Settings::default()));
        fs::write(dir.path().join(FILE), "port = 7777\norigins = [\"vscode-webview://0k3\"]\n").unwrap();
        let read = Settings::read(dir.path()).unwrap();
        assert_eq!((read.port, read.origins.len()), (7777, 1));
        let error = |text: &str| Settings::parse(text).unwrap_err();
        assert!(
            error("port = 1\nprot = 2\n").starts_with("line 2: unknown field `prot`"),
            "{}",
            error("port = 1\nprot = 2\n")
        );
        assert!(error("origins = [\"*\"]").contains("not a whole origin"));
        assert!(error("origins = [\"vscode-webview://*\"]").contains("not a whole origin"));
        assert_eq!(Settings::parse("net_memory_mib = 4096").unwrap().net_memory_mib, Some(4096));
        assert!(error("net_memory_mib = 9999999999999").contains("more than 1073741824"));
        assert!(error("port = 70000").starts_with("line 1:"));
    }
}
