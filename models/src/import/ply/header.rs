//! The text before a PLY's values: what they are and how they are written.

use super::super::{
    damaged, shorten,
    text::{number, text, tokens},
    truncated,
};
use crate::error::{StageError, StageErrorKind};

/// Most elements and properties in a header.
const MAX_PARTS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Ascii,
    LittleEndian,
    BigEndian,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

#[derive(Debug)]
pub struct Property {
    pub name: String,
    pub kind: Scalar,
    /// Type of the length, for lists.
    pub count: Option<Scalar>,
}

#[derive(Debug)]
pub struct Element {
    pub name: String,
    /// As claimed.
    pub count: u64,
    pub properties: Vec<Property>,
}

#[derive(Debug)]
pub struct Header {
    pub encoding: Encoding,
    pub elements: Vec<Element>,
    /// From `comment TextureFile NAME`.
    pub textures: Vec<String>,
    /// Where the values begin.
    pub length: usize,
}

impl Header {
    /// Lines end in LF, CR LF, or CR alone.
    pub fn parse(bytes: &[u8]) -> Result<Header, StageError> {
        let mut header = Header { encoding: Encoding::Ascii, elements: Vec::new(), textures: Vec::new(), length: 0 };
        let mut has_format = false;
        let mut n_parts = 0;
        while let Some(line) = header.next_line(bytes) {
            let words: Vec<&[u8]> = tokens(line).collect();
            let bad = || damaged(format!("the PLY's header has the line `{}`", text(line)));
            match words[..] {
                [b"ply"] | [] | [b"obj_info", ..] => {}
                [b"comment", b"TextureFile", ..] => {
                    let name = text(line).split_once("TextureFile").map(|(_, name)| name.trim().to_owned());
                    header.textures.extend(name.filter(|name| !name.is_empty()));
                }
                [b"comment", ..] => {}
                [b"format", encoding, version] => {
                    has_format = true;
                    header.encoding = match (encoding, version) {
                        (b"ascii", b"1.0") => Encoding::Ascii,
                        (b"binary_little_endian", b"1.0") => Encoding::LittleEndian,
                        (b"binary_big_endian", b"1.0") => Encoding::BigEndian,
                        _ => {
                            let format = shorten(format!("{} {}", text(encoding), text(version)));
                            let message = format!("PLY format `{format}` is not read");
                            return Err(StageError::new(StageErrorKind::Unsupported, message, "export it as GLB"));
                        }
                    };
                }
                [b"element", name, count] => {
                    let count = number(count).ok_or_else(bad)?;
                    header.elements.push(Element { name: text(name), count, properties: Vec::new() });
                }
                [b"property", b"list", count, kind, name] => {
                    let count = Some(scalar(count).ok_or_else(bad)?);
                    let property = Property { name: text(name), kind: scalar(kind).ok_or_else(bad)?, count };
                    header.elements.last_mut().ok_or_else(bad)?.properties.push(property);
                }
                [b"property", kind, name] => {
                    let property = Property { name: text(name), kind: scalar(kind).ok_or_else(bad)?, count: None };
                    header.elements.last_mut().ok_or_else(bad)?.properties.push(property);
                }
                [b"end_header"] if has_format => return Ok(header),
                _ => return Err(bad()),
            }
            n_parts += 1;
            if n_parts > MAX_PARTS {
                return Err(damaged(format!("the PLY's header has more than {MAX_PARTS} lines")));
            }
        }
        Err(truncated("the PLY's header has no end"))
    }

    /// The next whole line; moves `length` to its end.
    fn next_line<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let rest = &bytes[self.length..];
        let end = rest.iter().position(|c| matches!(c, b'\n' | b'\r'))?;
        let is_pair = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
        self.length += end + if is_pair { 2 } else { 1 };
        Some(&rest[..end])
    }
}

fn scalar(word: &[u8]) -> Option<Scalar> {
    Some(match word {
        b"char" | b"int8" => Scalar::I8,
        b"uchar" | b"uint8" => Scalar::U8,
        b"short" | b"int16" => Scalar::I16,
        b"ushort" | b"uint16" => Scalar::U16,
        b"int" | b"int32" => Scalar::I32,
        b"uint" | b"uint32" => Scalar::U32,
        b"float" | b"float32" => Scalar::F32,
        b"double" | b"float64" => Scalar::F64,
        _ => return None,
    })
}
