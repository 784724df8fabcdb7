//! Our kernels on NVIDIA GPUs (kernels.cu), as functions on tensors: half precision within
//! blocks, f32 between them.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType,
    backend::BackendStorage,
    cuda_backend::{
        CudaDType, CudaDevice, WrapErr,
        cudarc::driver::{CudaSlice, CudaView, DeviceRepr, LaunchConfig, PushKernelArg},
    },
};
use half::{bf16, f16};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
/// Width of a head that `attention` takes.
pub const HEAD: usize = 64;

/// gelu(x + bias): x [n, width], bias [width].
pub fn gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(bias, &Activate { kernel: "gelu", is_gated: false })
}

/// First half of x + bias times the GELU of the second: x [n, 2 width], bias [2 width] to [n, width].
pub fn geglu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(bias, &Activate { kernel: "geglu", is_gated: true })
}

/// residual + x + bias in f32: x [n, width] and bias [width] in half precision.
pub fn add(x: &Tensor, bias: &Tensor, residual: &Tensor) -> Result<Tensor> {
    x.apply_op3_no_bwd(bias, residual, &Add)
}

/// Layer norm of x [n, width], f32, to half precision; weight and bias [width], f32.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32, to: DType) -> Result<Tensor> {
    x.apply_op3_no_bwd(weight, bias, &Norm { eps, to })
}

/// softmax(q k^T / sqrt(d)) v in each of `n_heads` heads of `HEAD` features: q [n, heads * d],
/// k and v [n_kv, heads * d], which may be columns of wider tensors, to [n, heads * d].
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, n_heads: usize) -> Result<Tensor> {
    q.apply_op3_no_bwd(k, v, &Attend { n_heads })
}

struct Activate {
    kernel: &'static str,
    is_gated: bool,
}

impl CustomOp2 for Activate {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        only_on_cuda()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        bias: &CudaStorage,
        bias_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match x.dtype() {
            DType::BF16 => self.run::<bf16>(x, x_l, bias, bias_l),
            _ => self.run::<f16>(x, x_l, bias, bias_l),
        }
    }
}

impl Activate {
    fn run<T: Half>(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        bias: &CudaStorage,
        bias_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let device = x.device();
        let (n, n_in) = x_l.shape().dims2()?;
        let width = if self.is_gated { n_in / 2 } else { n_in };
        let (x, bias) = (dense::<T>(x, x_l)?, dense::<T>(bias, bias_l)?);
        let out = uninitialised::<T>(device, n * width)?;
        let function = device.get_or_load_custom_func(&named::<T>(self.kernel), MODULE, PTX)?;
        let (count, width) = ((n * width) as u32, width as u32);
        let mut arguments = function.builder();
        arguments.arg(&x).arg(&bias).arg(&out).arg(&count).arg(&width);
        // SAFETY: arguments are those of the kernel, whose threads write `count` numbers of `out`.
        unsafe { arguments.launch(one_thread_each(count)) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, width as usize).into()))
    }
}

struct Add;

impl CustomOp3 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_on_cuda()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        bias: &CudaStorage,
        bias_l: &Layout,
        residual: &CudaStorage,
        residual_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        fn run<T: Half>(x: Dense, bias: Dense, residual: Dense) -> Result<(CudaStorage, Shape)> {
            let device = x.0.device();
            let (n, width) = x.1.shape().dims2()?;
            let (x, bias) = (dense::<T>(x.0, x.1)?, dense::<T>(bias.0, bias.1)?);
            let residual = dense::<f32>(residual.0, residual.1)?;
            let out = uninitialised::<f32>(device, n * width)?;
            let function = device.get_or_load_custom_func(&named::<T>("add"), MODULE, PTX)?;
            let (count, columns) = ((n * width) as u32, width as u32);
            let mut arguments = function.builder();
            arguments.arg(&x).arg(&bias).arg(&residual).arg(&out).arg(&count).arg(&columns);
            // SAFETY: arguments are those of the kernel, whose threads write `count` numbers of `out`.
            unsafe { arguments.launch(one_thread_each(count)) }.w()?;
            Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, width).into()))
        }
        match x.dtype() {
            DType::BF16 => run::<bf16>((x, x_l), (bias, bias_l), (residual, residual_l)),
            _ => run::<f16>((x, x_l), (bias, bias_l), (residual, residual_l)),
        }
    }
}

struct Norm {
    eps: f32,
    to: DType,
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_on_cuda()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        weight: &CudaStorage,
        weight_l: &Layout,
        bias: &CudaStorage,
        bias_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match self.to {
            DType::BF16 => self.run::<bf16>((x, x_l), (weight, weight_l), (bias, bias_l)),
            _ => self.run::<f16>((x, x_l), (weight, weight_l), (bias, bias_l)),
        }
    }
}

impl Norm {
    fn run<T: Half>(&self, x: Dense, weight: Dense, bias: Dense) -> Result<(CudaStorage, Shape)> {
        let device = x.0.device();
        let (n, width) = x.1.shape().dims2()?;
        let (x, weight, bias) =
            (dense::<f32>(x.0, x.1)?, dense::<f32>(weight.0, weight.1)?, dense::<f32>(bias.0, bias.1)?);
        let out = uninitialised::<T>(device, n * width)?;
        let function = device.get_or_load_custom_func(&named::<T>("norm"), MODULE, PTX)?;
        let columns = width as u32;
        let mut arguments = function.builder();
        arguments.arg(&x).arg(&weight).arg(&bias).arg(&out).arg(&columns).arg(&self.eps);
        let rows = LaunchConfig { grid_dim: (n as u32, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: arguments are those of the kernel, of which each block writes a row of `out`.
        unsafe { arguments.launch(rows) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, width).into()))
    }
}

struct Attend {
    n_heads: usize,
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_on_cuda()
    }

    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        q_l: &Layout,
        k: &CudaStorage,
        k_l: &Layout,
        v: &CudaStorage,
        v_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match q.dtype() {
            DType::BF16 => self.run::<bf16>((q, q_l), (k, k_l), (v, v_l)),
            _ => self.run::<f16>((q, q_l), (k, k_l), (v, v_l)),
        }
    }
}

impl Attend {
    fn run<T: Half>(&self, q: Dense, k: Dense, v: Dense) -> Result<(CudaStorage, Shape)> {
        /// Queries that a block keeps, and its threads.
        const QUERIES: u32 = 128;
        const THREADS: u32 = 128;
        let device = q.0.device();
        let ((n, width), (n_keys, _)) = (q.1.shape().dims2()?, k.1.shape().dims2()?);
        if width != self.n_heads * HEAD || v.1.shape() != k.1.shape() || n_keys == 0 {
            candle_core::bail!("attention of {:?} over {:?} in {} heads", q.1.shape(), k.1.shape(), self.n_heads)
        }
        let ((q, q_stride), (k, k_stride), (v, v_stride)) = (rows::<T>(q)?, rows::<T>(k)?, rows::<T>(v)?);
        let out = uninitialised::<T>(device, n * width)?;
        let function = device.get_or_load_custom_func(&named::<T>("attention"), MODULE, PTX)?;
        let (rows, keys, out_stride) = (n as i32, n_keys as i32, width as i64);
        let scale_log2 = std::f32::consts::LOG2_E / (HEAD as f32).sqrt();
        let mut arguments = function.builder();
        arguments.arg(&q).arg(&k).arg(&v).arg(&out).arg(&rows).arg(&keys);
        arguments.arg(&q_stride).arg(&k_stride).arg(&v_stride).arg(&out_stride).arg(&scale_log2);
        let config = LaunchConfig {
            grid_dim: ((n as u32).div_ceil(QUERIES), self.n_heads as u32, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: arguments are those of the kernel, whose blocks read and write rows that are there.
        unsafe { arguments.launch(config) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, width).into()))
    }
}

/// Name of the module of kernels within a device.
const MODULE: &str = "meshkiln";

type Dense<'a> = (&'a CudaStorage, &'a Layout);

trait Half: CudaDType + DeviceRepr + WithDType {}
impl Half for bf16 {}
impl Half for f16 {}

fn named<T: WithDType>(kernel: &str) -> String {
    format!("{kernel}_{}", T::DTYPE.as_str())
}

/// The numbers of a tensor without gaps.
fn dense<'a, T: CudaDType>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<T>()?.slice(start..end)),
        None => candle_core::bail!("a tensor with gaps"),
    }
}

/// From the first number of a matrix on, and what is between its rows. Rows start at multiples of 16 bytes.
fn rows<'a, T: CudaDType>((storage, layout): Dense<'a>) -> Result<(CudaView<'a, T>, i64)> {
    match (layout.stride(), layout.start_offset()) {
        ([stride, 1], start) if stride % 8 == 0 && start % 8 == 0 => {
            Ok((storage.as_cuda_slice::<T>()?.slice(start..), *stride as i64))
        }
        (strides, start) => candle_core::bail!("rows at {start} with strides {strides:?}"),
    }
}

fn uninitialised<T: DeviceRepr>(device: &CudaDevice, n: usize) -> Result<CudaSlice<T>> {
    // SAFETY: each kernel here writes all of its output.
    unsafe { device.alloc::<T>(n) }
}

fn one_thread_each(count: u32) -> LaunchConfig {
    const THREADS: u32 = 256;
    LaunchConfig { grid_dim: (count.div_ceil(THREADS), 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

fn only_on_cuda<T>() -> Result<T> {
    candle_core::bail!("a kernel for NVIDIA GPUs was asked to run elsewhere")
}
