//! Where a net runs and with what numbers.

use candle_core::{DType, Device};
use meshkiln_ops::{self as ops, Isa};

use crate::error::StageError;

/// Numbers that weights are kept in and products are computed from. Sums, norms, softmax
/// and what is carried from layer to layer are f32 in every precision, but for what only
/// convolutions read that round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    F32,
    /// Each f32 as two bf16, 16 bits of mantissa: on a CPU with tiles of bf16 faster than f32.
    Bf16x3,
    Bf16,
    F16,
}

impl Precision {
    pub const ALL: &[Precision] = &[Precision::F32, Precision::Bf16x3, Precision::Bf16, Precision::F16];

    pub fn id(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    pub fn find(id: &str) -> Option<Precision> {
        Precision::ALL.iter().copied().find(|precision| precision.id() == id)
    }

    /// For our own kernels, which have no f16.
    pub(super) fn of_kernels(self) -> ops::Precision {
        match self {
            Precision::F32 => ops::Precision::F32,
            Precision::Bf16x3 => ops::Precision::Bf16x3,
            Precision::Bf16 | Precision::F16 => ops::Precision::Bf16,
        }
    }

    pub(super) fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Bf16x3 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Compute {
    pub device: Device,
    pub precision: Precision,
    pub kernels: Kernels,
}

/// Whose code computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// `ops`: on a CPU.
    Ours,
    /// candle's: on CUDA and Metal. On a CPU only to test here what runs there.
    Candle,
    /// candle's products, and our kernels for attention and for all that is around products: on
    /// CUDA in half precision, where this build has them.
    Fused,
}

impl Compute {
    /// `precision` is taken as it is; f16 is refused on a CPU, which has no products of it, and bf16x3
    /// elsewhere.
    pub fn new(device: Device, precision: Precision) -> Result<Compute, StageError> {
        let kernels = match device {
            Device::Cpu => Kernels::Ours,
            Device::Cuda(_) if cfg!(feature = "flash-attn") && precision != Precision::F32 => Kernels::Fused,
            _ => Kernels::Candle,
        };
        if device.is_cpu() && precision == Precision::F16 {
            return Err(StageError::invalid("a cpu does not compute in f16", "choose bf16 or f32"));
        }
        if !device.is_cpu() && precision == Precision::Bf16x3 {
            return Err(StageError::invalid("only a cpu computes in bf16x3", "choose f32, bf16 or f16"));
        }
        Ok(Compute { device, precision, kernels })
    }

    /// The same device, for layers whose results are not to be rounded.
    pub fn in_f32(&self) -> Compute {
        let kernels = if self.kernels == Kernels::Fused { Kernels::Candle } else { self.kernels };
        Compute { device: self.device.clone(), precision: Precision::F32, kernels }
    }

    pub fn cpu(precision: Precision) -> Result<Compute, StageError> {
        Compute::new(Device::Cpu, precision)
    }

    /// What layers give each other within a block. Our kernels take and give f32 and round
    /// while they multiply.
    pub(super) fn dtype(&self) -> DType {
        match self.kernels {
            Kernels::Ours => DType::F32,
            Kernels::Candle | Kernels::Fused => self.precision.dtype(),
        }
    }
}

/// What suits a device best: half precision where it computes that much faster.
pub fn best_precision(device: &Device) -> Precision {
    let is_fast_at_bf16 = matches!(Isa::best(), Isa::Amx | Isa::Avx512Bf16);
    match device {
        Device::Cpu if !is_fast_at_bf16 => Precision::F32,
        Device::Metal(_) => Precision::F16,
        _ => Precision::Bf16,
    }
}

/// The device that `id` names: `cpu`, `cuda`, `cuda:1`, `metal`.
///
/// Errors: a name that says nothing, a device that is not there or that this build cannot use.
pub fn open_device(id: &str) -> Result<Device, StageError> {
    let (kind, ordinal) = id.split_once(':').unwrap_or((id, "0"));
    let absent =
        |e: candle_core::Error| StageError::invalid(format!("device `{id}` cannot be used: {e}"), "run on device cpu");
    match (kind, ordinal.parse::<usize>()) {
        ("cpu", _) => Ok(Device::Cpu),
        // A stream of our own: work on it is not serialised with other users of the default one.
        ("cuda", Ok(n)) => Device::new_cuda_with_stream(n).map_err(absent),
        ("metal", Ok(n)) => Device::new_metal(n).map_err(absent),
        _ => Err(StageError::invalid(format!("there is no device `{id}`"), "name cpu, cuda:0 or metal")),
    }
}
