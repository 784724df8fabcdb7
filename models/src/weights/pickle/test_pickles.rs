//! Checkpoints for tests, written byte by byte as torch writes them.

use std::io::Write;

/// A value to pickle.
#[derive(Clone)]
pub enum P {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    Tuple(Vec<P>),
    List(Vec<P>),
    Dict(Vec<(P, P)>),
    Global(&'static str, &'static str),
    Call(Box<P>, Vec<P>),
    Persistent(Vec<P>),
    /// Instructions as they are.
    Raw(Vec<u8>),
}

pub fn text(text: &str) -> P {
    P::Text(text.to_owned())
}

pub fn ints(values: &[i64]) -> P {
    P::Tuple(values.iter().map(|value| P::Int(*value)).collect())
}

pub fn call(module: &'static str, name: &'static str, arguments: Vec<P>) -> P {
    P::Call(Box::new(P::Global(module, name)), arguments)
}

pub fn storage(class: &'static str, key: &str, n: i64) -> P {
    P::Persistent(vec![text("storage"), P::Global("torch", class), text(key), text("cpu"), P::Int(n)])
}

pub fn tensor(storage: P, offset: i64, shape: &[i64], strides: &[i64]) -> P {
    let hooks = call("collections", "OrderedDict", vec![]);
    let arguments = vec![storage, P::Int(offset), ints(shape), ints(strides), P::Bool(false), hooks];
    call("torch._utils", "_rebuild_tensor_v2", arguments)
}

pub fn dict(entries: &[(&str, P)]) -> P {
    P::Dict(entries.iter().map(|(key, value)| (text(key), value.clone())).collect())
}

impl P {
    /// One stream, protocol 2.
    pub fn pickle(&self) -> Vec<u8> {
        let mut out = vec![0x80, 2];
        self.write(&mut out);
        out.push(b'.');
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let all = |items: &[P], out: &mut Vec<u8>| items.iter().for_each(|item| item.write(out));
        match self {
            P::None => out.push(b'N'),
            P::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
            P::Int(value) => {
                out.extend([0x8a, 8]);
                out.extend(value.to_le_bytes());
            }
            P::Text(text) => {
                out.push(b'X');
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
            P::Tuple(items) => {
                out.push(b'(');
                all(items, out);
                out.push(b't');
            }
            P::List(items) => {
                out.extend(b"](");
                all(items, out);
                out.push(b'e');
            }
            P::Dict(pairs) => {
                out.extend(b"}(");
                pairs.iter().for_each(|(key, value)| {
                    key.write(out);
                    value.write(out);
                });
                out.push(b'u');
            }
            P::Global(module, name) => out.extend(format!("c{module}\n{name}\n").as_bytes()),
            P::Call(function, arguments) => {
                function.write(out);
                P::Tuple(arguments.clone()).write(out);
                out.push(b'R');
            }
            P::Persistent(parts) => {
                P::Tuple(parts.clone()).write(out);
                out.push(b'Q');
            }
            P::Raw(bytes) => out.extend(bytes),
        }
    }
}

/// A zip archive of these entries, in this order.
pub fn archive(entries: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let packed = match deflate {
            true => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            false => bytes.to_vec(),
        };
        let at = out.len() as u32;
        let method: u16 = if deflate { 8 } else { 0 };
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0]);
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((bytes.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, n) = (out.len() as u32, entries.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(n.to_le_bytes());
    out.extend(n.to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// What `torch.save` makes of a value today.
pub fn zipped(root: &P, storages: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    let pickle = root.pickle();
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle), ("archive/byteorder", b"little")];
    entries.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), *bytes)));
    entries.push(("archive/version", b"3\n"));
    archive(&entries, deflate)
}

/// What it made before 1.6. Storages are (key, number of elements, bytes).
pub fn legacy(root: &P, storages: &[(&str, u64, &[u8])], little_endian: bool) -> Vec<u8> {
    let mut out = vec![0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
    out.extend(P::Int(1001).pickle());
    out.extend(dict(&[("protocol_version", P::Int(1001)), ("little_endian", P::Bool(little_endian))]).pickle());
    out.extend(root.pickle());
    out.extend(P::List(storages.iter().map(|(key, ..)| text(key)).collect()).pickle());
    for (_, n, bytes) in storages {
        out.extend(n.to_le_bytes());
        out.extend(*bytes);
    }
    out
}
