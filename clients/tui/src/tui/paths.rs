//! Paths that people type or drop: completion, and what a terminal pastes when
//! files are dropped onto it.

use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
};

/// More are not shown; the text is to be made longer.
const MOST: usize = 200;

/// `~` and `~/x` are the user's own folder.
pub fn expand(text: &str) -> PathBuf {
    let home = || env::var_os("HOME").or_else(|| env::var_os("USERPROFILE")).map(PathBuf::from);
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            home().map_or_else(|| PathBuf::from(text), |home| home.join(rest.trim_start_matches('/')))
        }
        _ => PathBuf::from(text),
    }
}

/// The absolute form of what was typed.
pub fn full(text: &str) -> Option<String> {
    absolute(expand(text.trim())).ok()?.to_str().map(str::to_owned)
}

/// What the text could become, sorted, folders with a slash at the end. Hidden
/// entries only when asked for.
pub fn complete(text: &str, folders_only: bool) -> Vec<String> {
    let (head, start) = text.rfind('/').map_or(("", text), |at| text.split_at(at + 1));
    let folder = if head.is_empty() { PathBuf::from(".") } else { expand(head) };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_str()?.to_owned();
            let is_folder = fs::metadata(entry.path()).is_ok_and(|found| found.is_dir());
            let fits = starts_like(&name, start) && (start.starts_with('.') || !name.starts_with('.'));
            (fits && (is_folder || !folders_only)).then(|| format!("{head}{name}{}", if is_folder { "/" } else { "" }))
        })
        .collect();
    found.sort_by_key(|path| (!path.ends_with('/'), path.to_lowercase()));
    found.truncate(MOST);
    found
}

fn starts_like(name: &str, start: &str) -> bool {
    name.to_lowercase().starts_with(&start.to_lowercase())
}

/// What all of them begin with.
pub fn common(candidates: &[String]) -> String {
    let Some(first) = candidates.first() else { return String::new() };
    let end = candidates.iter().fold(first.len(), |end, other| {
        let same = first[..end].char_indices().zip(other.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
        same.unwrap_or(end.min(other.len()))
    });
    let end = (0..=end).rev().find(|&at| first.is_char_boundary(at)).unwrap_or(0);
    first[..end].to_owned()
}

/// The paths of a paste, each absolute: one a line, or in the words of a shell,
/// quoted or not, or as `file://`. Those that are not there come second.
pub fn dropped(paste: &str) -> (Vec<String>, Vec<String>) {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for line in paste.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let whole = Path::new(line).is_absolute() && Path::new(line).exists();
        let words = if whole { vec![line.to_owned()] } else { words(line) };
        for word in words {
            let path = from_uri(&word).unwrap_or(word);
            match full(&path) {
                Some(path) if Path::new(&path).exists() => there.push(path),
                _ => missing.push(path),
            }
        }
    }
    (there, missing)
}

/// As a shell would take them apart.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.extend(chars.next()),
            ('\'' | '"', None) => (quote, open) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            (' ' | '\t', None) => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// `file://HOST/a%20b` is `/a b`.
fn from_uri(text: &str) -> Option<String> {
    let rest = text.strip_prefix("file://")?;
    let path = &rest.as_bytes()[rest.find('/')?..];
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < path.len() {
        let hex = path.get(at + 1..at + 3).filter(|_| path[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(path[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, away when the test ends.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = env::temp_dir().join(format!("meshkiln-paths-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("props")).unwrap();
            for file in ["lamp.png", "Lantern one.png", "灯籠.png", ".hidden"] {
                fs::write(path.join(file), "").unwrap();
            }
            Dir(path)
        }

        fn at(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().to_owned()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn completion_offers_what_begins_alike_folders_first() {
        let dir = Dir::new("complete");
        assert_eq!(complete(&dir.at("la"), false), [dir.at("lamp.png"), dir.at("Lantern one.png")]);
        assert_eq!(complete(&dir.at(""), false)[0], dir.at("props/"));
        assert_eq!(complete(&dir.at(""), true), [dir.at("props/")]);
        assert_eq!(complete(&dir.at("."), false), [dir.at(".hidden")]);
        assert!(complete("/no/such/folder/", false).is_empty());
    }

    #[test]
    fn what_all_begin_with_ends_on_a_character() {
        let of = |list: &[&str]| common(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["/a/lamp.png", "/a/lantern"]), "/a/la");
        assert_eq!(of(&["灯a", "炎a"]), "");
        assert_eq!(of(&["ab", "abc"]), "ab");
        assert_eq!(of(&["a灯", "a"]), "a");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn dropped_files_are_understood_however_the_terminal_writes_them() {
        let dir = Dir::new("dropped");
        let (lamp, lantern, wide) = (dir.at("lamp.png"), dir.at("Lantern one.png"), dir.at("灯籠.png"));
        let escaped = lantern.replace(' ', "\\ ");
        let uri = format!("file://{}", lantern.replace(' ', "%20"));
        for paste in [
            format!("{lamp} {escaped}"),
            format!("'{lamp}' '{lantern}'"),
            format!("\"{lamp}\" \"{lantern}\" "),
            format!("{lamp}\n{lantern}\n"),
            format!("{lamp}\r\n{uri}"),
        ] {
            assert_eq!(dropped(&paste), (vec![lamp.clone(), lantern.clone()], vec![]), "{paste}");
        }
        assert_eq!(dropped(&wide), (vec![wide.clone()], vec![]));
        let (there, missing) = dropped("/no/such.png");
        assert_eq!((there.len(), missing), (0, vec!["/no/such.png".to_owned()]));
        assert_eq!(dropped(""), (vec![], vec![]));
        assert_eq!(from_uri("file:///100%").as_deref(), Some("/100%"));
    }
}
