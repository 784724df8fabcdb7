//! Memory of an NVIDIA GPU, by its driver: what the card has, and what this process took of it.
//!
//! Tensors come from the driver's default pool (stream-ordered allocation), which counts what it
//! holds and the most it has held. The context itself, some hundreds of megabytes, is not counted.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, DriverError,
    result::{device::get_default_mem_pool, mem_pool},
    sys::{CUmemPool_attribute, CUmemoryPool},
};

/// A GPU that is asked about its memory.
pub struct CudaMemory {
    context: Arc<CudaContext>,
}

impl CudaMemory {
    /// Of the GPU with this number.
    ///
    /// Errors: no driver, no such GPU, a GPU without memory pools.
    pub fn open(ordinal: usize) -> Result<CudaMemory, DriverError> {
        let memory = CudaMemory { context: CudaContext::new(ordinal)? };
        memory.held_bytes()?;
        Ok(memory)
    }

    /// Free and all bytes of the card.
    pub fn card(&self) -> Result<(u64, u64), DriverError> {
        let (free, total) = self.context.mem_get_info()?;
        Ok((free as u64, total as u64))
    }

    /// Bytes that tensors of this process keep from others now.
    pub fn held_bytes(&self) -> Result<u64, DriverError> {
        self.read(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
    }

    /// The most of that since `reset_peak`.
    pub fn peak_bytes(&self) -> Result<u64, DriverError> {
        self.read(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)
    }

    /// From now on the peak counts anew.
    pub fn reset_peak(&self) -> Result<(), DriverError> {
        let mut zero = 0_u64;
        let pool = self.pool()?;
        // SAFETY: the pool lives as long as the device; this attribute is a 64-bit number.
        unsafe {
            mem_pool::set_attribute(
                pool,
                CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH,
                (&raw mut zero).cast(),
            )
        }
    }

    fn read(&self, attribute: CUmemPool_attribute) -> Result<u64, DriverError> {
        let mut value = 0_u64;
        let pool = self.pool()?;
        // SAFETY: the pool lives as long as the device; the attributes read here are 64-bit numbers.
        unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut value).cast())? };
        Ok(value)
    }

    fn pool(&self) -> Result<CUmemoryPool, DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: a device of a context that is open.
        unsafe { get_default_mem_pool(self.context.cu_device()) }
    }
}
