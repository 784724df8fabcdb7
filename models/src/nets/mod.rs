//! Networks: one folder each, and what they share.
//!
//! A net is built from a `Checkpoint` (checkpoint.rs) on a `Compute` (compute.rs): a
//! device and a precision. It does no I/O, picks no device and prints nothing; while
//! it runs it tells a `Watch` how many of its layers are done.
//! `blocks` holds what two or more nets are made of, `synthetic` weights by formula.
//!
//! A stage asks its `StageCx` for a net by type; whoever runs stages answers through
//! `Nets` and keeps what it loaded warm.

pub mod birefnet;
pub mod blocks;
pub mod checkpoint;
pub mod compute;
pub mod conv;
#[cfg(feature = "flash-attn")]
mod cuda;
#[cfg(feature = "cuda")]
pub mod cuda_memory;
pub mod depth;
pub mod features;
pub mod installed;
pub mod isnet;
pub mod positions;
pub mod rsu;
pub mod saliency;
pub mod sam;
pub mod swin;
pub mod synthetic;
pub mod torchscript;
pub mod triposr;
pub mod u2net;
pub mod upscale;

use std::{any::Any, sync::Arc};

use candle_core::{DType, Tensor};

pub use self::{
    checkpoint::{Checkpoint, Vars},
    compute::{Compute, Precision},
};
use crate::error::StageError;

/// A kind of network that can be loaded.
pub trait Net: Any + Send + Sync + Sized {
    /// Builds the net `id` of the catalogue, where several sizes are of one kind. `config` is the
    /// checkpoint's own configuration as a tree, where it has one.
    fn load(id: &str, config: Option<&serde_json::Value>, vars: &Vars) -> Result<Self, StageError>;
}

/// Every network there is an engine for.
pub static LOADERS: &[Loader] = &[
    Loader::of::<sam::Sam>("mobile-sam"),
    Loader::of::<sam::Sam>("sam-vit-b"),
    Loader::of::<sam::Sam>("sam-vit-l"),
    Loader::of::<sam::Sam>("sam-vit-h"),
    Loader::of::<birefnet::BiRefNet>("birefnet"),
    Loader::of::<isnet::IsNet>("isnet"),
    Loader::of::<isnet::IsNet>("isnet-anime"),
    Loader::of::<u2net::U2Net>("u2net"),
    Loader::of::<u2net::U2Net>("u2netp"),
    Loader::of::<triposr::TripoSr>("triposr"),
    Loader::of::<upscale::Upscaler>("realesrgan-x4plus"),
    Loader::of::<upscale::Upscaler>("realesrgan-x4plus-anime"),
    Loader::of::<upscale::Upscaler>("realesrgan-x2plus"),
    Loader::of::<upscale::Upscaler>("realesr-general-x4v3"),
    Loader::of::<upscale::Upscaler>("realesr-animevideov3"),
    Loader::of::<depth::DepthNet>("depth-anything-v2-small"),
    Loader::of::<depth::DepthNet>("depth-anything-v2-base"),
    Loader::of::<depth::DepthNet>("depth-anything-v2-large"),
    Loader::of::<depth::DepthNet>("depth-anything-v2-indoor"),
    Loader::of::<depth::DepthNet>("depth-anything-v2-outdoor"),
    Loader::of::<depth::DepthNet>("zoedepth-n"),
    Loader::of::<depth::DepthNet>("zoedepth-k"),
    Loader::of::<depth::DepthNet>("zoedepth-nk"),
    Loader::of::<depth::DepthNet>("midas"),
    Loader::of::<depth::DepthNet>("dpt-large"),
    Loader::of::<depth::DepthNet>("dpt-hybrid"),
];

/// Loads one network without its type being known.
pub struct Loader {
    /// As in the catalogue of weights and in `Engine::net`.
    pub id: &'static str,
    load: fn(&'static str, Option<&serde_json::Value>, &Vars) -> Result<NetHandle, StageError>,
}

impl Loader {
    const fn of<N: Net>(id: &'static str) -> Loader {
        Loader { id, load: |id, config, vars| Ok(NetHandle::new(id, N::load(id, config, vars)?)) }
    }

    pub fn find(id: &str) -> Option<&'static Loader> {
        LOADERS.iter().find(|loader| loader.id == id)
    }

    /// The network on the device and in the precision of `compute`, with weights from `checkpoint`.
    pub fn load(
        &self,
        config: Option<&serde_json::Value>,
        checkpoint: &dyn Checkpoint,
        compute: &Compute,
    ) -> Result<NetHandle, StageError> {
        (self.load)(self.id, config, &Vars::new(checkpoint, compute))
    }
}

/// A loaded network, shared by whoever runs it. Its memory is given back with the last clone.
#[derive(Clone)]
pub struct NetHandle {
    pub id: &'static str,
    net: Arc<dyn Any + Send + Sync>,
}

impl NetHandle {
    /// `id` is that of the kind of net.
    pub fn new(id: &'static str, net: impl Any + Send + Sync) -> NetHandle {
        NetHandle { id, net: Arc::new(net) }
    }

    /// `None` when it is another kind of net.
    pub fn get<N: Any + Send + Sync>(&self) -> Option<Arc<N>> {
        self.net.clone().downcast().ok()
    }
}

/// Where a running stage finds its networks: warm ones at once, others after loading.
pub trait Nets: Sync {
    /// The net `id` in `precision`, or in what suits the device best when `None`.
    fn net(&self, id: &str, precision: Option<Precision>) -> Result<NetHandle, StageError>;
}

/// For stages that run where there are no networks.
pub struct NoNets;

impl Nets for NoNets {
    fn net(&self, id: &str, _: Option<Precision>) -> Result<NetHandle, StageError> {
        Err(installed::not_here(id))
    }
}

/// What a running net tells.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears how many steps of how many are done, at least once a layer; an error ends the run.
    pub step: &'a dyn Fn(u32, u32) -> Result<(), StageError>,
    /// Sees values on their way, by name: for comparing with a reference.
    pub tap: Option<Tap<'a>>,
}

/// Is shown values by name.
pub type Tap<'a> = &'a dyn Fn(&str, &Tensor);

impl Watch<'_> {
    /// For runs that nobody watches.
    pub fn nobody() -> Watch<'static> {
        Watch { step: &|_, _| Ok(()), tap: None }
    }

    /// Shows a value, as f32.
    pub fn tap(&self, name: &str, value: &Tensor) {
        if let Some(tap) = self.tap {
            match value.to_dtype(DType::F32) {
                Ok(value) => tap(name, &value),
                Err(_) => tap(name, value),
            }
        }
    }
}

impl From<candle_core::Error> for StageError {
    fn from(error: candle_core::Error) -> Self {
        StageError::internal(format!("the network could not be computed: {error}"))
    }
}
