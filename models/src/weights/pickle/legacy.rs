//! The container before torch 1.6: five pickles, then the storages.
//!
//! In order: a magic number, a version, what machine wrote it, the object, the
//! keys of the storages; then for each key the number of elements as 8 bytes
//! and the elements (torch/serialization.py, `_legacy_load`).

use std::{
    collections::HashMap,
    io::{BufReader, Read, Seek, SeekFrom},
};

use super::{
    Result, Source, Tensor, WeightsError,
    container::{Container, Place},
    machine::{Machine, Value},
    tensors, torch_zip,
};

/// Little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Starts with a pickle.
pub fn open(mut source: Box<dyn Source>, file: &str) -> Result<(Container, Vec<Tensor>)> {
    let io = |error: std::io::Error| WeightsError::io(file, &error);
    let len = source.seek(SeekFrom::End(0)).map_err(io)?;
    source.rewind().map_err(io)?;
    let mut stream = BufReader::with_capacity(1 << 16, &mut *source);
    let mut machine = Machine::new(file);
    let mut at = 0;
    let mut next = |machine: &mut Machine| {
        let (value, n) = machine.run(&mut stream)?;
        at += n;
        Ok::<_, WeightsError>(value)
    };
    let magic = next(&mut machine)?;
    if !matches!(machine.get(magic), Value::BigInt(found) if **found == MAGIC) {
        let hint = "only checkpoints written by `torch.save` are read";
        return Err(machine.unsupported("a pickle that is no checkpoint", hint));
    }
    let version = next(&mut machine)?;
    match machine.get(version) {
        Value::Int(VERSION) => {}
        Value::Int(other) => {
            let hint = "save the checkpoint again with a current torch";
            return Err(machine.unsupported(format!("version {other} of the format"), hint));
        }
        _ => return Err(machine.damaged("the version is not a number")),
    }
    let system = next(&mut machine)?;
    if let Value::Dict(pairs) = machine.get(system) {
        let little = pairs.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"));
        if little.is_some_and(|(_, value)| matches!(machine.get(*value), Value::Bool(false))) {
            return Err(torch_zip::big_endian(file));
        }
    }
    let root = next(&mut machine)?;
    let found = tensors::named(&machine, root)?;
    let keys = next(&mut machine)?;
    let Some(keys) = machine.items(keys) else {
        return Err(machine.damaged("the keys of the storages are not a list"));
    };
    let declared: HashMap<&str, usize> =
        machine.declared.storages.iter().enumerate().map(|(i, storage)| (&*storage.key, i)).collect();
    let mut places = vec![None; machine.declared.storages.len()];
    drop(stream);
    for key in keys {
        let storage = machine.text(*key).and_then(|key| declared.get(key).copied());
        let Some((storage, decl)) = storage.map(|i| (i, &machine.declared.storages[i])) else {
            return Err(machine.damaged("a storage is there that nothing mentions"));
        };
        let mut n = [0; 8];
        source.seek(SeekFrom::Start(at)).map_err(io)?;
        source.read_exact(&mut n).map_err(io)?;
        let n = u64::from_le_bytes(n);
        if n.checked_mul(decl.dtype.map_or(1, |dtype| dtype.size() as u64)) != Some(decl.n_bytes) {
            let what = format!("storage `{}` should have {} bytes, announces {n} elements", decl.key, decl.n_bytes);
            return Err(machine.damaged(what));
        }
        at += 8;
        if at.checked_add(decl.n_bytes).is_none_or(|end| end > len) {
            let what =
                format!("storage `{}` has {} bytes, {} are left", decl.key, decl.n_bytes, len.saturating_sub(at));
            return Err(WeightsError::Truncated { file: file.to_owned(), what });
        }
        places[storage] = Some(Place { at, deflated: None, n_bytes: decl.n_bytes, crc: None });
        at += decl.n_bytes;
    }
    match places.into_iter().collect() {
        Some(places) => Ok((Container::new(source, file, places), found)),
        None => Err(machine.damaged("a storage is mentioned that is not there")),
    }
}
