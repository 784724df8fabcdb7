//! Compiles the networks' CUDA kernels to PTX where a feature asks for them.

use std::{env, path::Path, process::Command};

const KERNELS: &str = "src/nets/cuda/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    if env::var_os("CARGO_FEATURE_FLASH_ATTN").is_none() {
        return;
    }
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kernels.ptx");
    let nvcc = env::var_os("CUDA_HOME").map_or("nvcc".into(), |home| Path::new(&home).join("bin/nvcc"));
    // For every card since Ampere; the driver makes the rest of it.
    let status = Command::new(&nvcc)
        .args(["--ptx", "-arch=compute_80", "-O3", "-std=c++17", "-o"])
        .arg(&out)
        .arg(KERNELS)
        .status()
        .unwrap_or_else(|e| panic!("{} cannot be run: {e}; set CUDA_HOME to a CUDA toolkit", nvcc.display()));
    assert!(status.success(), "{} could not compile {KERNELS}", nvcc.display());
}
