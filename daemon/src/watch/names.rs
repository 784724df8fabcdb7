//! Which names in a watched folder are pictures. Everything else is none of our business.

use std::{ffi::OsStr, path::Path};

/// Read by `decode`, or refused by it with a reason that helps.
const PICTURES: &[&str] = &[
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "gif", "apng", "avif", "heic", "heif",
    "jxl", "tga", "hdr", "exr",
];

/// The folder's own settings.
pub const FOLDER_RULES: &str = ".meshkiln.toml";

/// Hidden files, and what editors, browsers and copying programs leave while at work.
pub fn is_ignored(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let lower = name.to_lowercase();
    let partial = [".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".swp", ".swx", ".bak", "~"];
    name.starts_with('.')
        || name.starts_with("~$")
        || name.starts_with("~syncthing~")
        || name == "4913"
        || lower == "thumbs.db"
        || lower == "desktop.ini"
        || partial.iter().any(|end| lower.ends_with(end))
}

pub fn is_picture(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    !is_ignored(name) && extension.is_some_and(|e| PICTURES.contains(&e.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_from_what_programs_leave_around_them() {
        for yes in ["a.png", "A.JPG", "x.y.webp", "scan 1.tiff"] {
            assert!(is_picture(Path::new(yes)), "{yes}");
        }
        let not = [
            "a.glb",
            ".a.png",
            "._a.png",
            "a.png.part",
            "a.png~",
            "~$a.png",
            ".goutputstream-X1",
            "4913",
            "Thumbs.db",
            "png",
            "~syncthing~a.png.tmp",
        ];
        for no in not {
            assert!(!is_picture(Path::new(no)), "{no}");
        }
    }
}
