//! A module in libtorch.
//!
//! It is run once when it is loaded, on black pictures: what does not fit the manifest is found then.

use std::path::Path;

use candle_core::DeviceLocation;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

use super::{plane, values};
use crate::{
    cx::StageCx,
    error::StageError,
    image::plane::Plane,
    nets::{Compute, NetHandle},
    slot::{Asset, Slot},
    weights::own::signature::{Port, Signature},
};

/// Of `StageCx::step`: inputs are there, the module has run, outputs are there.
const N_STEPS: u32 = 3;

pub struct TorchScript {
    module: CModule,
    signature: Signature,
    device: Device,
}

/// The module in `file` on the device of `compute`, in the precision that it was saved in.
///
/// Errors: a file that is no module, and a module that does not take or make what the manifest says.
pub fn load(file: &Path, signature: &Signature, compute: &Compute) -> Result<NetHandle, StageError> {
    let device = match compute.device.location() {
        DeviceLocation::Cpu => Device::Cpu,
        DeviceLocation::Cuda { gpu_id } => Device::Cuda(gpu_id),
        DeviceLocation::Metal { .. } => Device::Mps,
    };
    let mut module = CModule::load_on_device(file, device).map_err(|e| failed("it is no TorchScript module", &e))?;
    module.f_set_eval().map_err(|e| failed("it cannot be set to evaluation", &e))?;
    let net = TorchScript { module, signature: signature.clone(), device };
    let black = net.signature.inputs.iter().map(|port| vec![0.0; port.len()]).collect();
    net.forward(black)?;
    Ok(NetHandle::new("torchscript", net))
}

impl TorchScript {
    pub fn run(&self, cx: &StageCx, asset: &Asset) -> Result<Vec<(Slot, Plane<f32>)>, StageError> {
        let inputs = self.signature.inputs.iter().map(|port| Ok(values(&*asset.image(port.slot)?, port)));
        let inputs = inputs.collect::<Result<_, StageError>>()?;
        cx.step(1, N_STEPS)?;
        let outputs = self.forward(inputs)?;
        cx.step(2, N_STEPS)?;
        let ports = self.signature.outputs.iter();
        Ok(ports.zip(outputs).map(|(port, values)| (port.slot, plane(&values, port))).collect())
    }

    /// Tensors by the manifest, row-major.
    fn forward(&self, inputs: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, StageError> {
        let inputs = self.signature.inputs.iter().zip(inputs).map(|(port, values)| {
            let tensor = Tensor::f_from_slice(&values)?.f_reshape(port.shape())?.f_to_device(self.device)?;
            Ok(IValue::Tensor(tensor))
        });
        let inputs = inputs.collect::<Result<Vec<_>, TchError>>().map_err(|e| failed("no tensor can be made", &e))?;
        let made = tch::no_grad(|| self.module.forward_is(&inputs));
        let made = made.map_err(|e| failed(&format!("the module does not take {}", self.said()), &e))?;
        let made =
            tensors(made).ok_or_else(|| wrong("output", "one tensor or a tuple of tensors", "something else"))?;
        if made.len() != self.signature.outputs.len() {
            let (expected, found) = (self.signature.outputs.len(), made.len());
            return Err(wrong("output", &format!("{expected} tensors"), &format!("{found}")));
        }
        self.signature.outputs.iter().zip(&made).map(|(port, tensor)| to_host(port, tensor)).collect()
    }

    /// What the manifest says of inputs.
    fn said(&self) -> String {
        let inputs = self.signature.inputs.iter().map(|port| format!("`{}.shape` {:?}", port.name, port.shape()));
        inputs.collect::<Vec<_>>().join(" and ")
    }
}

fn tensors(made: IValue) -> Option<Vec<Tensor>> {
    match made {
        IValue::Tensor(tensor) => Some(vec![tensor]),
        IValue::TensorList(tensors) => Some(tensors),
        IValue::Tuple(values) | IValue::GenericList(values) => {
            let tensor = |value| match value {
                IValue::Tensor(tensor) => Some(tensor),
                _ => None,
            };
            values.into_iter().map(tensor).collect()
        }
        _ => None,
    }
}

fn to_host(port: &Port, tensor: &Tensor) -> Result<Vec<f32>, StageError> {
    if tensor.size() != port.shape() {
        let (expected, found) = (format!("{:?}", port.shape()), format!("{:?}", tensor.size()));
        return Err(wrong(&format!("{}.shape", port.name), &expected, &found));
    }
    let copy = || -> Result<Vec<f32>, TchError> {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let mut values = vec![0.0f32; port.len()];
        tensor.f_copy_data(&mut values, port.len())?;
        Ok(values)
    };
    copy().map_err(|e| failed("what the module made cannot be read", &e))
}

/// The manifest and the module disagree.
fn wrong(field: &str, expected: &str, found: &str) -> StageError {
    StageError::invalid(
        format!("`{field}` of the manifest says {expected}, the module makes {found}"),
        "correct net.toml, or save another module",
    )
}

/// An error of libtorch, without its stack. That memory ran out is no fault of the file.
fn failed(what: &str, error: &TchError) -> StageError {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // The last line of a TorchScript traceback, or the first of anything else, says what is wrong.
    let tells = |line: &&str| line.starts_with("RuntimeError:") || line.starts_with("torch.jit.Error");
    let said = lines.clone().find(tells).or(lines.clone().next()).unwrap_or_default();
    let message = format!("{what}: {said}");
    if text.to_lowercase().contains("out of memory") {
        return StageError::internal(format!("{message} (out of memory)"));
    }
    StageError::invalid(message, "save the module with torch.jit.save, and correct net.toml")
}
