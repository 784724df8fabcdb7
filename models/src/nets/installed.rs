//! Networks from the files that `weights::fetch` has put in place.

use std::path::Path;

use super::{
    Compute, Loader, NetHandle,
    checkpoint::{Checkpoint, Stored, Values},
};
use crate::{
    error::StageError,
    weights::{
        catalogue::{self, Role},
        dtype::DType,
        fetch,
        open::{View, Weights},
        yaml::Tree,
    },
};

/// The net `id` on `compute`, with its weights from `root`, the folder of all weights.
///
/// Errors: a net that nothing knows, weights that are not here, or that are not those of the net.
pub fn load(id: &str, root: &Path, compute: &Compute) -> Result<NetHandle, StageError> {
    let unknown = || StageError::internal(format!("there is no network `{id}`"));
    let (net, loader) = (catalogue::find(id).ok_or_else(unknown)?, Loader::find(id).ok_or_else(unknown)?);
    let files = fetch::installed(net, root).ok_or_else(|| not_here(id))?.files;
    let of = |role: Role| files.iter().find(|file| file.role == role);
    let config = of(Role::Config).map(|file| Tree::open(&file.path)).transpose()?.map(|tree| tree.root().into());
    let weights = of(Role::Checkpoint).or(of(Role::Safetensors)).ok_or_else(|| not_here(id))?;
    loader.load(config.as_ref(), &Weights::open(&weights.path)?, compute)
}

/// Are the weights of `id` under `root`?
pub fn is_here(id: &str, root: &Path) -> bool {
    catalogue::find(id).is_some_and(|net| fetch::is_here(net, root))
}

pub fn not_here(id: &str) -> StageError {
    StageError::invalid(
        format!("the weights of network `{id}` are not here"),
        format!("fetch them with `meshkiln pull {id}`, or set engine to auto"),
    )
}

impl Checkpoint for Weights {
    fn find(&self, key: &str, _shape: &[usize]) -> Option<Stored<'_>> {
        let View { dtype, shape, data } = self.get(key).ok()?;
        let values = match dtype {
            DType::F32 => Values::F32Bytes(data),
            DType::F16 => Values::F16Bytes(data),
            DType::BF16 => Values::Bf16Bytes(data),
            _ => return None,
        };
        Some(Stored { shape: shape.to_vec(), values })
    }

    fn release(&self, key: &str) {
        Weights::release(self, key);
    }
}
