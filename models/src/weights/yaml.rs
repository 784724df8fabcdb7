//! The YAML of a network's published configuration, as a tree of keys.
//!
//! What is read is YAML's core schema (YAML 1.2.2, section 10.3) in one
//! document, plus OmegaConf's references `${a.b}`, which published
//! configurations use to say a size once. Anchors, aliases and tags of
//! applications are refused: configurations do without, and aliases are how a
//! few lines grow to gigabytes.

use std::{fmt, path::Path};

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value as Json;

use super::{Result, WeightsError};

/// Longest text, in bytes.
const MAX_BYTES: u64 = 1 << 20;
const MAX_DEPTH: usize = 32;
/// Most keys of one map.
const MAX_KEYS: usize = 4096;
/// Most references followed from one value.
const MAX_HOPS: usize = 16;

/// A configuration and the file it came from, for errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    file: String,
    root: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<(String, Node)>),
}

impl From<&Node> for Json {
    /// Numbers that JSON does not have become `null`.
    fn from(node: &Node) -> Json {
        match node {
            Node::Null => Json::Null,
            Node::Bool(value) => Json::from(*value),
            Node::Int(value) => Json::from(*value),
            Node::Float(value) => Json::from(*value),
            Node::Text(value) => Json::from(value.as_str()),
            Node::List(nodes) => nodes.iter().map(Json::from).collect(),
            Node::Map(entries) => entries.iter().map(|(key, node)| (key.clone(), Json::from(node))).collect(),
        }
    }
}

impl Tree {
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let io = |error: std::io::Error| WeightsError::io(path.display(), &error);
        let found = std::fs::metadata(path).map_err(io)?.len();
        if found > MAX_BYTES {
            let what = "the length of the configuration".to_owned();
            return Err(WeightsError::TooLarge { file, what, found, limit: MAX_BYTES });
        }
        let bytes = std::fs::read(path).map_err(io)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &file),
            Err(error) => Err(WeightsError::Damaged { file, what: error.to_string() }),
        }
    }

    /// `file` stands for the text in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let mut reader = Reader { parser: Parser::new_from_str(text), file };
        let root = reader.document()?;
        Ok(Self { file: file.to_owned(), root })
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The value at a path of keys and list indices joined with dots, references
    /// followed. `None` where there is no such path, or a reference leads nowhere.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.resolve(path, MAX_HOPS)
    }

    pub fn contains(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// A whole number from 0.
    pub fn usize(&self, path: &str) -> Result<usize> {
        self.typed(path, "a whole number from 0", |node| match node {
            Node::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A number; whole ones count.
    pub fn f64(&self, path: &str) -> Result<f64> {
        self.typed(path, "a number", |node| match node {
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            _ => None,
        })
    }

    pub fn bool(&self, path: &str) -> Result<bool> {
        self.typed(path, "true or false", |node| match node {
            Node::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub fn text(&self, path: &str) -> Result<&str> {
        self.typed(path, "text", |node| match node {
            Node::Text(value) => Some(value.as_str()),
            _ => None,
        })
    }

    fn typed<'t, T>(&'t self, path: &str, expected: &str, read: impl Fn(&'t Node) -> Option<T>) -> Result<T> {
        let found = self.get(path);
        found.and_then(read).ok_or_else(|| WeightsError::Setting {
            file: self.file.clone(),
            key: path.to_owned(),
            expected: expected.to_owned(),
            found: found.map_or("not there".to_owned(), Node::to_string),
        })
    }

    fn resolve(&self, path: &str, hops: usize) -> Option<&Node> {
        let mut node = self.follow(&self.root, hops)?;
        for key in path.split('.') {
            let child = match node {
                Node::Map(entries) => &entries.iter().find(|(name, _)| name == key)?.1,
                Node::List(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
            node = self.follow(child, hops)?;
        }
        Some(node)
    }

    fn follow<'t>(&'t self, node: &'t Node, hops: usize) -> Option<&'t Node> {
        let Node::Text(text) = node else { return Some(node) };
        match text.strip_prefix("${").and_then(|text| text.strip_suffix('}')) {
            Some(path) => self.resolve(path, hops.checked_sub(1)?),
            None => Some(node),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Node::Null => f.write_str("nothing"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Int(value) => write!(f, "{value}"),
            Node::Float(value) => write!(f, "{value}"),
            Node::Text(value) => write!(f, "`{value}`"),
            Node::List(items) => write!(f, "a list of {}", items.len()),
            Node::Map(entries) => write!(f, "a map of {} keys", entries.len()),
        }
    }
}

struct Reader<'i> {
    parser: Parser<'i, saphyr_parser::StrInput<'i>>,
    file: &'i str,
}

impl<'i> Reader<'i> {
    fn document(&mut self) -> Result<Node> {
        let mut root = Node::Null;
        let mut n_documents = 0;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if n_documents == 1 => {
                    return Err(self.unsupported("a second document"));
                }
                Event::DocumentStart(_) => {
                    n_documents += 1;
                    let first = self.next()?;
                    root = self.node(first, 0)?;
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'i>, depth: usize) -> Result<Node> {
        if depth > MAX_DEPTH {
            return Err(self.too_large("the depth of the configuration", MAX_DEPTH));
        }
        match event {
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                Err(self.unsupported("an anchor"))
            }
            Event::Scalar(text, style, _, tag) => match tag {
                Some(tag) if tag.handle == "tag:yaml.org,2002:" && tag.suffix == "str" => {
                    Ok(Node::Text(text.into_owned()))
                }
                Some(tag) => Err(self.unsupported(&format!("the tag `{}{}`", tag.handle, tag.suffix))),
                None if style == ScalarStyle::Plain => Ok(plain(&text)),
                None => Ok(Node::Text(text.into_owned())),
            },
            Event::SequenceStart(_, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(items)),
                        item => items.push(self.node(item, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, None) => {
                let mut entries: Vec<(String, Node)> = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Node::Map(entries)),
                        Event::Scalar(key, _, 0, None) => key.into_owned(),
                        _ => return Err(self.unsupported("a key that is not plain text")),
                    };
                    if entries.iter().any(|(known, _)| *known == key) {
                        let what = format!("the key `{key}` is there twice");
                        return Err(WeightsError::Damaged { file: self.file.to_owned(), what });
                    }
                    if entries.len() == MAX_KEYS {
                        return Err(self.too_large("the number of keys", MAX_KEYS));
                    }
                    let value = self.next()?;
                    entries.push((key, self.node(value, depth + 1)?));
                }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => Err(self.unsupported("a tag")),
            Event::Alias(_) => Err(self.unsupported("an alias")),
            other => {
                let what = format!("{other:?} where a value should be");
                Err(WeightsError::Damaged { file: self.file.to_owned(), what })
            }
        }
    }

    fn next(&mut self) -> Result<Event<'i>> {
        match self.parser.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => {
                Err(WeightsError::Damaged { file: self.file.to_owned(), what: format!("not YAML: {error}") })
            }
            None => Err(WeightsError::Truncated { file: self.file.to_owned(), what: "the document is cut".to_owned() }),
        }
    }

    /// One more than `limit`.
    fn too_large(&self, what: &str, limit: usize) -> WeightsError {
        let (file, what) = (self.file.to_owned(), what.to_owned());
        WeightsError::TooLarge { file, what, found: limit as u64 + 1, limit: limit as u64 }
    }

    fn unsupported(&self, found: &str) -> WeightsError {
        let hint = "write the configuration out in plain YAML";
        WeightsError::Unsupported { file: self.file.to_owned(), found: found.to_owned(), hint }
    }
}

/// Type of an unquoted scalar, by the core schema's table.
fn plain(text: &str) -> Node {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Bool(true),
        "false" | "False" | "FALSE" => return Node::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Node::Float(f64::NAN),
        _ if matches!(digits, ".inf" | ".Inf" | ".INF") => {
            return Node::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        _ => {}
    }
    let radix = |prefix: &str, radix| text.strip_prefix(prefix).and_then(|t| u32::from_str_radix(t, radix).ok());
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Node::Int(value.into());
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or_else(|_| Node::Text(text.to_owned()), Node::Int);
    }
    // Rust's parser also takes "inf" and "nan", which are words here.
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    match text.parse() {
        Ok(value) if is_number => Node::Float(value),
        _ => Node::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
