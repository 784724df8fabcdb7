//! From the values of a pickle to a list of named tensors.

use std::collections::HashMap;

use super::{
    DType, Layout, MAX_DEPTH, MAX_DIMS, MAX_NAME, MAX_TENSORS, Result, Tensor, WeightsError,
    machine::{Id, Machine, StorageRef, Value},
};

/// Everything a pickle said about tensors, before any of their bytes is read.
#[derive(Default)]
pub struct Declared {
    pub storages: Vec<StorageDecl>,
    pub tensors: Vec<TensorDecl>,
    by_key: HashMap<Box<str>, usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct StorageDecl {
    pub key: Box<str>,
    /// `None`: counted in bytes.
    pub dtype: Option<DType>,
    pub n_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct TensorDecl {
    dtype: DType,
    shape: Vec<usize>,
    layout: Layout,
}

impl Declared {
    /// Place of the storage, `None` where its key was described differently before.
    pub fn add_storage(&mut self, decl: StorageDecl) -> Option<usize> {
        match self.by_key.get(&decl.key) {
            Some(known) => (self.storages[*known] == decl).then_some(*known),
            None => {
                self.by_key.insert(decl.key.clone(), self.storages.len());
                self.storages.push(decl);
                Some(self.storages.len() - 1)
            }
        }
    }
}

impl TensorDecl {
    /// Checks that every element lies within the storage and that there are no
    /// more elements than the storage has. `offset` and `strides` are in elements.
    pub fn new(
        file: &str,
        declared: &Declared,
        part: StorageRef,
        dtype: Option<DType>,
        offset: u64,
        shape: Vec<u64>,
        strides: Vec<u64>,
    ) -> Result<Self> {
        let damaged = |what: String| WeightsError::Damaged { file: file.to_owned(), what };
        let Some(dtype) = dtype.or(declared.storages[part.storage].dtype) else {
            return Err(damaged("a tensor of an untyped storage has no type".to_owned()));
        };
        if shape.len() != strides.len() || shape.len() > MAX_DIMS {
            return Err(damaged(format!("a tensor has {} axes and {} strides", shape.len(), strides.len())));
        }
        let size = dtype.size() as u64;
        let n = shape.iter().try_fold(1_u64, |n, dim| n.checked_mul(*dim));
        // One past the last element, in elements from the start of the part.
        let end = match n {
            Some(0) => Some(0),
            _ => shape.iter().zip(&strides).try_fold(offset.saturating_add(1), |end, (dim, stride)| {
                end.checked_add((dim - 1).checked_mul(*stride)?)
            }),
        };
        let shape: Option<Vec<usize>> = shape.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        match (n, end.and_then(|end| end.checked_mul(size)), shape) {
            (Some(n), Some(end), Some(shape)) if end <= part.n_bytes && n <= part.n_bytes / size => {
                let offset = part.offset + if n == 0 { 0 } else { offset * size };
                Ok(Self { dtype, shape, layout: Layout { storage: part.storage, offset, strides } })
            }
            _ => {
                let held = part.n_bytes / size;
                let what = format!("a tensor {strides:?} apart from {offset} does not fit into a storage of {held}");
                Err(damaged(what))
            }
        }
    }
}

/// Every tensor below `root` under its path; optimizers' states left out.
pub fn named(machine: &Machine, root: Id) -> Result<Vec<Tensor>> {
    let mut walk = Walk { machine, found: Vec::new(), n_visited: 0 };
    walk.visit(root, "", 0)?;
    if walk.found.is_empty() {
        return Err(machine.unsupported("no tensors", "save the network's `state_dict()`"));
    }
    Ok(walk.found)
}

struct Walk<'a> {
    machine: &'a Machine<'a>,
    found: Vec<Tensor>,
    n_visited: u64,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id, path: &str, depth: usize) -> Result<()> {
        self.n_visited += 1;
        self.limit("the number of values", self.n_visited, 4_000_000)?;
        match self.machine.get(id) {
            Value::Tensor(tensor) => {
                let TensorDecl { dtype, shape, layout } = self.machine.declared.tensors[*tensor].clone();
                let name = if path.is_empty() { "tensor" } else { path }.to_owned();
                self.found.push(Tensor { name, dtype, shape, layout });
                self.limit("the number of tensors", self.found.len() as u64, MAX_TENSORS as u64)
            }
            Value::Dict(pairs) if !self.is_optimizer(pairs) => {
                for (key, value) in pairs {
                    match self.machine.get(*key) {
                        Value::Text(key) => self.descend(*value, path, key, depth)?,
                        Value::Int(key) => self.descend(*value, path, &key.to_string(), depth)?,
                        _ => {} // no name to give; torch's own dictionaries have none such
                    }
                }
                Ok(())
            }
            Value::List(items) => self.visit_all(items, path, depth),
            Value::Tuple(items) => self.visit_all(items, path, depth),
            _ => Ok(()),
        }
    }

    fn visit_all(&mut self, items: &[Id], path: &str, depth: usize) -> Result<()> {
        items.iter().enumerate().try_for_each(|(i, item)| self.descend(*item, path, &i.to_string(), depth))
    }

    fn descend(&mut self, id: Id, path: &str, key: &str, depth: usize) -> Result<()> {
        // Most leaves of training state are numbers: no path is built for them.
        if !matches!(self.machine.get(id), Value::Tensor(_) | Value::Dict(_) | Value::List(_) | Value::Tuple(_)) {
            return Ok(());
        }
        self.limit("the depth of dictionaries", depth as u64, MAX_DEPTH as u64)?;
        self.limit("the length of a name", (path.len() + key.len()) as u64, MAX_NAME as u64)?;
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        self.visit(id, &path, depth + 1)
    }

    /// `torch.optim.Optimizer.state_dict()` is a dictionary with these two keys.
    fn is_optimizer(&self, pairs: &[(Id, Id)]) -> bool {
        let has = |name| pairs.iter().any(|(key, _)| self.machine.text(*key) == Some(name));
        pairs.len() <= 3 && has("state") && has("param_groups")
    }

    fn limit(&self, what: &str, found: u64, limit: u64) -> Result<()> {
        match found <= limit {
            true => Ok(()),
            false => {
                let (file, what) = (self.machine.file.to_owned(), what.to_owned());
                Err(WeightsError::TooLarge { file, what, found, limit })
            }
        }
    }
}
