//! The zip container: `NAME/data.pkl`, `NAME/data/KEY` and a few notes.

use super::{
    MAX_PICKLE, Result, Source, Tensor, WeightsError,
    container::{self, Container, Place},
    machine::Machine,
    tensors,
    zip::{Directory, Entry, Method},
};

/// Starts with a zip entry's header.
pub fn open(mut source: Box<dyn Source>, file: &str) -> Result<(Container, Vec<Tensor>)> {
    let directory = Directory::read(&mut *source, file)?;
    let unsupported =
        |found: &str, hint| WeightsError::Unsupported { file: file.to_owned(), found: found.to_owned(), hint };
    let mut roots = directory.entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = match (roots.next(), roots.next()) {
        (Some(root), None) => root.to_owned(),
        (Some(_), Some(_)) => {
            return Err(unsupported("several checkpoints in one archive", "unpack it, use one of them"));
        }
        (None, _) => {
            let found = "a zip archive without `data.pkl`";
            return Err(unsupported(found, "only checkpoints written by `torch.save` are read"));
        }
    };
    let is_script =
        |name: &String| name.strip_prefix(&root).is_some_and(|n| n == "constants.pkl" || n.starts_with("code/"));
    if directory.entries.keys().any(is_script) {
        return Err(unsupported(
            "a TorchScript archive, which is a program",
            "save the network's `state_dict()`, or add it as a TorchScript engine",
        ));
    }
    if let Some(order) = read_entry(&mut *source, &directory, &format!("{root}byteorder"), 16)?
        && order != b"little"
    {
        return Err(big_endian(file));
    }
    let name = format!("{root}data.pkl");
    let pickle = read_entry(&mut *source, &directory, &name, MAX_PICKLE)?.unwrap_or_default();
    let mut machine = Machine::new(file);
    let (root_value, _) = machine.run(&mut pickle.as_slice())?;
    drop(pickle);
    let found = tensors::named(&machine, root_value)?;
    let mut places = Vec::new();
    for storage in &machine.declared.storages {
        let name = format!("{root}data/{}", storage.key);
        let place = match directory.entries.get(&name) {
            Some(entry) if entry.n_bytes == storage.n_bytes => place(&mut *source, &directory, &name, entry)?,
            Some(entry) => {
                let what = format!("storage `{name}` should have {} bytes, has {}", storage.n_bytes, entry.n_bytes);
                return Err(WeightsError::Damaged { file: file.to_owned(), what });
            }
            None if storage.n_bytes == 0 => Place { at: 0, deflated: None, n_bytes: 0, crc: None },
            None => {
                let what = format!("storage `{name}` is not in the archive");
                return Err(WeightsError::Damaged { file: file.to_owned(), what });
            }
        };
        places.push(place);
    }
    Ok((Container::new(source, file, places), found))
}

pub fn big_endian(file: &str) -> WeightsError {
    let found = "numbers of a big-endian machine".to_owned();
    WeightsError::Unsupported { file: file.to_owned(), found, hint: "save it again on a little-endian machine" }
}

fn place(source: &mut dyn Source, directory: &Directory, name: &str, entry: &Entry) -> Result<Place> {
    let at = directory.data_at(source, name, entry)?;
    let deflated = (entry.method == Method::Deflated).then_some(entry.compressed);
    Ok(Place { at, deflated, n_bytes: entry.n_bytes, crc: Some(entry.crc) })
}

/// A small entry in memory, `None` where there is none of that name.
fn read_entry(source: &mut dyn Source, directory: &Directory, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(entry) = directory.entries.get(name) else { return Ok(None) };
    if entry.n_bytes > limit {
        let (file, what) = (directory.file.to_owned(), format!("the size of entry `{name}`"));
        return Err(WeightsError::TooLarge { file, what, found: entry.n_bytes, limit });
    }
    let place = place(source, directory, name, entry)?;
    let mut bytes = Vec::new();
    container::stream(source, directory.file, &place, &mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(Some(bytes))
}
