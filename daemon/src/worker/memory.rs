//! Memory of a device as its worker sees it: the machine's for the CPU, the driver's word for a GPU.

use std::sync::Arc;

#[cfg(feature = "cuda")]
use meshkiln_models::nets::cuda_memory::CudaMemory;
use meshkiln_protocol::net::DeviceMemory;

use super::process;

/// Asked each second by one thread, and around loads and runs by another.
pub trait Gauge: Send + Sync {
    /// `None` where it cannot be told.
    fn read(&self) -> Option<DeviceMemory>;

    /// From now on the peak counts anew.
    fn reset_peak(&self);

    /// Most that this worker used since `reset_peak`; 0 where it cannot be told.
    fn peak_used_bytes(&self) -> u64;
}

/// The gauge of a real device. Of one that does not open, the machine's: whoever uses it will say
/// what is wrong with it.
pub fn gauge(device: &str) -> Arc<dyn Gauge> {
    #[cfg(feature = "cuda")]
    if let Some(Ok(memory)) = cuda_ordinal(device).map(CudaMemory::open) {
        return Arc::new(memory);
    }
    tracing::debug!("memory of {device} is that of the machine");
    Arc::new(Machine)
}

/// `1` of `cuda:1`, `0` of `cuda`.
#[cfg(feature = "cuda")]
fn cuda_ordinal(device: &str) -> Option<usize> {
    let (kind, ordinal) = device.split_once(':').unwrap_or((device, "0"));
    (kind == "cuda").then(|| ordinal.parse().ok())?
}

#[cfg(feature = "cuda")]
impl Gauge for CudaMemory {
    fn read(&self) -> Option<DeviceMemory> {
        let (free_bytes, total_bytes) = self.card().ok()?;
        Some(DeviceMemory { used_bytes: self.held_bytes().ok()?, free_bytes, total_bytes })
    }

    fn reset_peak(&self) {
        if let Err(e) = CudaMemory::reset_peak(self) {
            tracing::warn!("the GPU's driver does not forget its peak: {e}");
        }
    }

    fn peak_used_bytes(&self) -> u64 {
        self.peak_bytes().unwrap_or(0)
    }
}

/// Memory of the machine, or of the container around this process.
pub struct Machine;

impl Gauge for Machine {
    fn read(&self) -> Option<DeviceMemory> {
        let total_bytes = process::total_memory()?;
        let free_bytes = process::free_memory()?.min(total_bytes);
        Some(DeviceMemory { used_bytes: process::rss_bytes(), free_bytes, total_bytes })
    }

    fn reset_peak(&self) {
        process::reset_peak_rss();
    }

    fn peak_used_bytes(&self) -> u64 {
        process::peak_rss_bytes()
    }
}

/// What something took: on top of `before` when it was done, and at the most meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Taken {
    pub bytes: u64,
    pub peak_bytes: u64,
}

/// A measurement that has begun.
pub struct Measuring<'a> {
    gauge: &'a dyn Gauge,
    before: u64,
}

impl Measuring<'_> {
    pub fn begin(gauge: &dyn Gauge) -> Measuring<'_> {
        gauge.reset_peak();
        Measuring { gauge, before: gauge.read().map_or(0, |memory| memory.used_bytes) }
    }

    /// Zero where nothing can be told.
    pub fn end(&self) -> Taken {
        let Some(after) = self.gauge.read() else { return Taken::default() };
        let bytes = after.used_bytes.saturating_sub(self.before);
        Taken { bytes, peak_bytes: self.gauge.peak_used_bytes().saturating_sub(self.before).max(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_tells_what_was_taken() {
        let memory = Machine.read().unwrap();
        assert!(memory.used_bytes > 0 && memory.used_bytes + memory.free_bytes <= 2 * memory.total_bytes);
        let measuring = Measuring::begin(&Machine);
        let held = std::hint::black_box(vec![1u8; 96 << 20]);
        let taken = measuring.end();
        drop(held);
        // Other tests of this process allocate too; nobody else takes half as much at once.
        assert!(taken.bytes >= 48 << 20 && taken.peak_bytes >= taken.bytes, "{taken:?}");
    }
}
