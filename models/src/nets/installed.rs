//! Networks from the files that `weights::fetch` has put in place, and from those of a user.

use std::path::Path;

use super::{
    Compute, Loader, NetHandle,
    checkpoint::{Checkpoint, Stored, Values},
};
use crate::{
    error::{StageError, StageErrorKind},
    weights::{
        catalogue::{self, Role},
        dtype::DType,
        fetch,
        open::{View, Weights},
        own::{self, Kind, Own, Problem},
        yaml::Tree,
    },
};

/// The net `id` on `compute`, with its weights from `root`, the folder of all weights.
///
/// Errors: a net that nothing knows, weights that are not here, or that are not those of the net.
pub fn load(id: &str, root: &Path, compute: &Compute) -> Result<NetHandle, StageError> {
    if let Some(own) = own::find(id, root) {
        return load_own(&own?, compute);
    }
    let unknown = || StageError::internal(format!("there is no network `{id}`"));
    let (net, loader) = (catalogue::find(id).ok_or_else(unknown)?, Loader::find(id).ok_or_else(unknown)?);
    let files = fetch::installed(net, root).ok_or_else(|| not_here(id))?.files;
    let of = |role: Role| files.iter().find(|file| file.role == role);
    let weights = of(Role::Checkpoint).or(of(Role::Safetensors)).ok_or_else(|| not_here(id))?;
    from_files(loader, of(Role::Config).map(|file| file.path.as_path()), &weights.path, compute)
}

fn load_own(own: &Own, compute: &Compute) -> Result<NetHandle, StageError> {
    let ready = own.ready().ok_or_else(|| not_as_read(&own.id))?;
    let loaded = match &own.kind {
        Kind::BuiltIn { net: id, .. } => {
            let loader = Loader::find(id).ok_or_else(|| StageError::internal(format!("no loader of `{id}`")))?;
            from_files(loader, ready.config.as_deref(), &ready.weights, compute)
        }
        #[cfg(feature = "torchscript")]
        Kind::TorchScript(signature) => super::torchscript::load(&ready.weights, signature, compute),
        #[cfg(not(feature = "torchscript"))]
        Kind::TorchScript(_) => {
            let (message, hint) = own::NO_TORCHSCRIPT;
            return Err(StageError::new(StageErrorKind::Unsupported, message, hint));
        }
    };
    // Whose weights are wrong, and who can mend them, is told apart from those of the catalogue.
    loaded.map_err(|error| match error.kind {
        StageErrorKind::Internal | StageErrorKind::Cancelled => error,
        kind => StageError::new(
            kind,
            format!("{}: {}", own.path(&own.weights).display(), error.message),
            format!("put the right file there, then `meshkiln pull {}`", own.id),
        ),
    })
}

fn from_files(
    loader: &Loader,
    config: Option<&Path>,
    weights: &Path,
    compute: &Compute,
) -> Result<NetHandle, StageError> {
    let config = config.map(Tree::open).transpose()?.map(|tree| tree.root().into());
    loader.load(config.as_ref(), &Weights::open(weights)?, compute)
}

pub fn not_here(id: &str) -> StageError {
    StageError::invalid(
        format!("the weights of network `{id}` are not here"),
        format!("fetch them with `meshkiln pull {id}`, or set engine to auto"),
    )
}

/// Why the net `id` cannot be loaded from `root`, where that is because files are missing.
pub fn absence(id: &str, root: &Path) -> Option<StageError> {
    match own::find(id, root) {
        // Loading says what else is wrong.
        Some(own) => own.is_ok_and(|own| own.ready().is_none()).then(|| not_as_read(id)),
        None => (!catalogue::find(id).is_some_and(|net| fetch::is_here(net, root))).then(|| not_here(id)),
    }
}

fn not_as_read(id: &str) -> StageError {
    StageError::invalid(
        format!("the files of network `{id}` are not as they were when they were last read"),
        format!("read them again with `meshkiln pull {id}`"),
    )
}

impl From<Problem> for StageError {
    fn from(problem: Problem) -> Self {
        StageError::invalid(problem.message, problem.hint)
    }
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
