//! Nets from the weights on this machine, on this worker's device.

use std::{
    any::Any,
    io,
    path::{Path, PathBuf},
};

use meshkiln_models::{
    StageError, StageErrorKind,
    nets::{
        Compute, NetHandle, Precision,
        compute::{best_precision, open_device},
        installed,
    },
};

use super::{
    frames::{Failure, FailureKind},
    nets::{NetStore, Warm},
};

pub struct Stored {
    /// Folder of all weights.
    root: PathBuf,
    compute: Compute,
}

impl Stored {
    /// Nets go onto `device`, in the precision that suits it best.
    ///
    /// Errors: a device that is not there, or that this build cannot use.
    pub fn on(device: &str, root: &Path) -> io::Result<Stored> {
        let unusable = |e: StageError| io::Error::new(io::ErrorKind::Unsupported, e.message);
        let device = open_device(device).map_err(unusable)?;
        let precision = best_precision(&device);
        let compute = Compute::new(device, precision).map_err(unusable)?;
        Ok(Stored { root: root.to_owned(), compute })
    }
}

impl NetStore for Stored {
    fn load(&mut self, net: &str) -> Result<Box<dyn Any + Send>, Failure> {
        let failure = |kind, error: StageError| Failure { kind, message: error.message, hint: error.hint };
        if let Some(error) = installed::absence(net, &self.root) {
            return Err(failure(FailureKind::WeightsMissing, error));
        }
        let handle = installed::load(net, &self.root, &self.compute).map_err(|e| failure(kind(&e), e))?;
        Ok(Box::new(Warm { handle, precision: self.compute.precision }))
    }

    fn load_as(&self, net: &str, precision: Precision) -> Result<NetHandle, StageError> {
        let compute = Compute::new(self.compute.device.clone(), precision)?;
        installed::load(net, &self.root, &compute)
    }
}

/// What a failed load means. A driver tells by text alone.
fn kind(error: &StageError) -> FailureKind {
    let text = error.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if error.kind == StageErrorKind::Unsupported {
        FailureKind::Unsupported
    } else if error.kind != StageErrorKind::Internal {
        FailureKind::WeightsDamaged
    } else if says(&["out of memory", "out_of_memory", "memoryallocation"]) {
        FailureKind::OutOfMemory
    } else if says(&["illegal address", "launch fail", "illegal_address", "launch_failed", "uncorrectable"]) {
        FailureKind::DeviceFault
    } else {
        FailureKind::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_not_here_are_told_from_damaged_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut stored = Stored::on("cpu", folder.path()).unwrap();
        let missing = stored.load("triposr").err().unwrap();
        assert_eq!(missing.kind, FailureKind::WeightsMissing);
        assert!(missing.hint.contains("meshkiln pull triposr"), "{}", missing.hint);
        assert!(Stored::on("abacus", folder.path()).is_err());
    }

    #[test]
    fn what_a_driver_says_is_understood() {
        let of = |text: &str| kind(&StageError::internal(text));
        assert_eq!(of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"), FailureKind::OutOfMemory);
        assert_eq!(of("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, ...)"), FailureKind::DeviceFault);
        assert_eq!(of("shape mismatch"), FailureKind::Internal);
        assert_eq!(kind(&StageError::invalid("no tensor `x`", "")), FailureKind::WeightsDamaged);
    }
}
