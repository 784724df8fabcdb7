//! Lines, words and numbers of text formats, as bytes: names need not be UTF-8.

/// Lines without their ends, LF, CR LF or CR.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&c| c == b'\n').flat_map(|line| {
        // A CR before the LF belongs to the line's end; others end lines of their own.
        line.strip_suffix(b"\r").unwrap_or(line).split(|&c| c == b'\r')
    })
}

/// Words between blanks.
pub(super) fn tokens(bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    bytes.split(|c| c.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// A decimal number; `nan` and `inf` are numbers here.
pub(super) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_convention() {
        let found: Vec<&[u8]> = lines(b"a\r\nb\nc\rd").collect();
        assert_eq!(found, [&b"a"[..], b"b", b"c", b"d"]);
        assert_eq!(tokens(b" 1\t 2 ").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(number::<f32>(b"-1.5e2"), Some(-150.0));
        assert_eq!(number::<i64>(b"1.5"), None);
    }
}
