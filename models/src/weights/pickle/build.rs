//! What a pickle may build: dictionaries, shapes, tensors and their storages.
//!
//! Arguments as in torch/_utils.py (`_rebuild_tensor_v2` and its kin) and
//! torch/serialization.py (`persistent_id`).

use super::{
    DType, Result,
    global::Global,
    machine::{Id, Machine, StorageRef, Value},
    tensors::{StorageDecl, TensorDecl},
};

/// What a call on the closed list gives.
pub enum Built {
    New(Value),
    /// One of the arguments, as it was.
    Same(Id),
}

impl Machine<'_> {
    pub fn call(&mut self, function: Id, arguments: Id) -> Result<Built> {
        let Value::Global(function) = *self.get(function) else {
            return Err(self.damaged("something that is no function is called"));
        };
        let Value::Tuple(arguments) = self.get(arguments) else {
            return Err(self.damaged("a function is called without a tuple of arguments"));
        };
        let arguments = arguments.clone();
        match (function, &*arguments) {
            (Global::OrderedDict, []) => Ok(Built::New(Value::Dict(Vec::new()))),
            (Global::OrderedDict, [pairs]) => {
                let pair = |id: &Id| match self.items(*id) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                };
                match self.items(*pairs).and_then(|pairs| pairs.iter().map(pair).collect()) {
                    Some(pairs) => Ok(Built::New(Value::Dict(pairs))),
                    None => Err(self.damaged("a dictionary is made of something other than pairs")),
                }
            }
            (Global::Size, [sizes]) => match self.items(*sizes) {
                Some(sizes) => Ok(Built::New(Value::Tuple(sizes.into()))),
                None => Err(self.damaged("a shape is made of something other than numbers")),
            },
            (Global::Device, _) => Ok(Built::New(Value::Opaque)),
            (Global::RebuildTensor, [storage, offset, shape, strides]) => {
                self.tensor(*storage, *offset, *shape, *strides, None)
            }
            (Global::RebuildTensorV2, [storage, offset, shape, strides, _, _, ..]) => {
                self.tensor(*storage, *offset, *shape, *strides, None)
            }
            (Global::RebuildTensorV3, [storage, offset, shape, strides, _, _, dtype, ..]) => {
                let Value::Global(Global::DType(dtype)) = *self.get(*dtype) else {
                    return Err(self.damaged("a tensor's type is not one"));
                };
                self.tensor(*storage, *offset, *shape, *strides, Some(dtype))
            }
            (Global::RebuildParameter, [tensor, _, _, ..]) => match self.get(*tensor) {
                Value::Tensor(_) => Ok(Built::Same(*tensor)),
                _ => Err(self.damaged("a parameter is made of something that is no tensor")),
            },
            // The inner function is one of the tensor functions, so this goes one level deep.
            (Global::RebuildFromType, [inner, _, arguments, _]) => match self.get(*inner) {
                Value::Global(Global::RebuildTensor | Global::RebuildTensorV2 | Global::RebuildTensorV3) => {
                    self.call(*inner, *arguments)
                }
                _ => Err(self.damaged("a tensor is built by something else")),
            },
            _ => Err(self.damaged(format!("{function:?} is called with {} arguments", arguments.len()))),
        }
    }

    fn tensor(&mut self, storage: Id, offset: Id, shape: Id, strides: Id, dtype: Option<DType>) -> Result<Built> {
        let Value::Storage(storage) = self.get(storage) else {
            return Err(self.damaged("a tensor is made of something that is no storage"));
        };
        let numbers = |id| self.items(id).and_then(|items| items.iter().map(|id| self.unsigned(*id)).collect());
        let (Some(offset), Some(shape), Some(strides)) = (self.unsigned(offset), numbers(shape), numbers(strides))
        else {
            return Err(self.damaged("a tensor's offset, shape or strides are not whole numbers from 0"));
        };
        let decl = TensorDecl::new(self.file, &self.declared, **storage, dtype, offset, shape, strides)?;
        self.declared.tensors.push(decl);
        Ok(Built::New(Value::Tensor(self.declared.tensors.len() - 1)))
    }

    /// A persistent id: `("storage", type, key, device, elements[, view])`.
    pub fn storage(&mut self, id: Id) -> Result<Value> {
        let parts = self.items(id).map(<[Id]>::to_vec);
        let Some([tag, class, key, _device, n, view @ ..]) = parts.as_deref() else {
            return Err(self.damaged("a storage is described by something other than a tuple"));
        };
        let (Some("storage"), Some(key), Some(n)) = (self.text(*tag), self.text(*key), self.unsigned(*n)) else {
            return Err(self.damaged("a storage has no key or size"));
        };
        let dtype = match self.get(*class) {
            Value::Global(Global::Storage(dtype)) => Some(*dtype),
            Value::Global(Global::UntypedStorage) => None,
            _ => return Err(self.damaged("a storage's type is not one")),
        };
        let size = dtype.map_or(1, |dtype| dtype.size() as u64);
        let in_bytes = |n: u64| n.checked_mul(size).ok_or_else(|| self.damaged("a storage's size overflows"));
        let n_bytes = in_bytes(n)?;
        // Old checkpoints describe a part of another storage: (key of the part, offset, elements).
        let part = match view.first().map(|view| (self.get(*view), self.items(*view))) {
            None | Some((Value::None, _)) => None,
            Some((_, Some([_, offset, n]))) => match (self.unsigned(*offset), self.unsigned(*n)) {
                (Some(offset), Some(n)) => Some((in_bytes(offset)?, in_bytes(n)?)),
                _ => return Err(self.damaged("a part of a storage has no offset or size")),
            },
            Some(_) => return Err(self.damaged("a part of a storage is not described by three values")),
        };
        let (offset, part_bytes) = part.unwrap_or((0, n_bytes));
        if offset.checked_add(part_bytes).is_none_or(|end| end > n_bytes) {
            return Err(self.damaged("a part of a storage ends outside of it"));
        }
        let decl = StorageDecl { key: key.into(), dtype, n_bytes };
        let Some(storage) = self.declared.add_storage(decl) else {
            return Err(self.damaged("one storage is described in two ways"));
        };
        Ok(Value::Storage(Box::new(StorageRef { storage, offset, n_bytes: part_bytes })))
    }
}
