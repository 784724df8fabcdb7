// Kernels of the networks on NVIDIA GPUs: attention without the matrix of scores, and what
// linear layers and norms do around their products, fused.
//
// Half precision is bf16 or f16 (`Half`); sums, softmax and residuals are f32. Tensor cores by
// `mma.sync` (PTX ISA, "Matrix fragments for mma.m16n8k16"), for compute capability 8.0 and up.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

struct Bf16 {
    using T = __nv_bfloat16;
    static __device__ __forceinline__ float widen(T v) { return __bfloat162float(v); }
    static __device__ __forceinline__ T narrow(float v) { return __float2bfloat16_rn(v); }
    // Two values in one register, the first in the lower half.
    static __device__ __forceinline__ uint32_t pair(float low, float high) {
        uint32_t out;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
        return out;
    }
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

struct F16 {
    using T = __half;
    static __device__ __forceinline__ float widen(T v) { return __half2float(v); }
    static __device__ __forceinline__ T narrow(float v) { return __float2half_rn(v); }
    static __device__ __forceinline__ uint32_t pair(float low, float high) {
        uint32_t out;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
        return out;
    }
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

// ---------------------------------------------------------------------------------------------
// softmax(q k^T * scale) v for heads of 64 features. FlashAttention-2 (Dao, 2023): a block of
// four warps keeps 128 queries, 32 a warp, and goes through the keys 64 at a time, with running
// maxima and sums. While one tile of keys and values is used the next one is on its way.

constexpr int D = 64;
constexpr int QUERIES = 128;
constexpr int KEYS = 64;
constexpr int WARPS = 4;
constexpr int ROW_BYTES = D * 2;
constexpr int TILE_BYTES = KEYS * ROW_BYTES;

// Bytes of 16-byte chunk `chunk` of row `row` of a tile: chunks of a row are swapped so that the
// same chunk of eight rows lies in different banks.
__device__ __forceinline__ uint32_t place(int row, int chunk) {
    return row * ROW_BYTES + ((chunk ^ (row & 7)) << 4);
}

__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool is_there) {
    int n = is_there ? 16 : 0;  // What is not copied is zero.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(n));
}

__device__ __forceinline__ void load4(uint32_t (&r)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}

__device__ __forceinline__ void load4_transposed(uint32_t (&r)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}

// Rows `first`.. of a matrix [n, stride] into a tile of `rows` rows; those beyond n are zero.
template <typename T>
__device__ __forceinline__ void fetch(uint32_t tile, const T *from, int64_t stride, int first, int n, int rows) {
    for (int i = threadIdx.x; i < rows * (D / 8); i += WARPS * 32) {
        int row = i / (D / 8), chunk = i % (D / 8);
        bool is_there = first + row < n;
        copy_async(tile + place(row, chunk), from + (is_there ? first + row : 0) * stride + chunk * 8, is_there);
    }
    asm volatile("cp.async.commit_group;");
}

template <typename Half>
__device__ __forceinline__ void attend(const typename Half::T *q, const typename Half::T *k, const typename Half::T *v,
                                       typename Half::T *out, int n, int n_keys, int64_t q_stride, int64_t k_stride,
                                       int64_t v_stride, int64_t out_stride, float scale_log2) {
    __shared__ __align__(128) uint8_t shared[4 * TILE_BYTES];
    uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = blockIdx.x * QUERIES;
    q += blockIdx.y * D, k += blockIdx.y * D, v += blockIdx.y * D, out += blockIdx.y * D;

    // Queries pass through the memory of the first tiles and stay in registers.
    fetch(base, q, q_stride, first, n, QUERIES);
    asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    uint32_t queries[2][D / 16][4];
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int step = 0; step < D / 16; step++)
            load4(queries[m][step], base + place(warp * 32 + m * 16 + lane % 16, step * 2 + lane / 16));
    __syncthreads();

    float sums[2][D / 8][4] = {};
    float most[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
    float total[2][2] = {};

    int n_tiles = (n_keys + KEYS - 1) / KEYS;
    fetch(base, k, k_stride, 0, n_keys, KEYS);
    fetch(base + TILE_BYTES, v, v_stride, 0, n_keys, KEYS);
    for (int tile = 0; tile < n_tiles; tile++) {
        uint32_t keys = base + (tile % 2) * 2 * TILE_BYTES, values = keys + TILE_BYTES;
        if (tile + 1 < n_tiles) {
            uint32_t next = base + ((tile + 1) % 2) * 2 * TILE_BYTES;
            fetch(next, k, k_stride, (tile + 1) * KEYS, n_keys, KEYS);
            fetch(next + TILE_BYTES, v, v_stride, (tile + 1) * KEYS, n_keys, KEYS);
            asm volatile("cp.async.wait_group 2;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();

        float scores[2][KEYS / 8][4] = {};
#pragma unroll
        for (int column = 0; column < KEYS / 8; column++) {
#pragma unroll
            for (int step = 0; step < D / 16; step += 2) {
                // Eight keys, 32 features.
                uint32_t b[4];
                load4(b, keys + place(column * 8 + lane % 8, step * 2 + lane / 8));
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    Half::mma(scores[m][column], queries[m][step], b[0], b[1]);
                    Half::mma(scores[m][column], queries[m][step + 1], b[2], b[3]);
                }
            }
        }
        if (tile + 1 == n_tiles && n_keys % KEYS != 0) {
#pragma unroll
            for (int column = 0; column < KEYS / 8; column++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (tile * KEYS + column * 8 + lane % 4 * 2 + i % 2 >= n_keys)
                        scores[0][column][i] = scores[1][column][i] = -INFINITY;
        }

        // Each thread has two rows of each 16: lane / 4 and eight below.
        uint32_t shares[2][KEYS / 16][4];
#pragma unroll
        for (int m = 0; m < 2; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float high = most[m][half];
#pragma unroll
                for (int column = 0; column < KEYS / 8; column++)
                    high = fmaxf(high, fmaxf(scores[m][column][half * 2], scores[m][column][half * 2 + 1]));
                high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
                high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
                // The first tile has a key for everybody, so `high` is finite from here on.
                float shrink = exp2f((most[m][half] - high) * scale_log2);
                most[m][half] = high;
                total[m][half] *= shrink;
#pragma unroll
                for (int column = 0; column < D / 8; column++) {
                    sums[m][column][half * 2] *= shrink;
                    sums[m][column][half * 2 + 1] *= shrink;
                }
                float offset = high * scale_log2;
#pragma unroll
                for (int column = 0; column < KEYS / 8; column++) {
                    float a = exp2f(fmaf(scores[m][column][half * 2], scale_log2, -offset));
                    float b = exp2f(fmaf(scores[m][column][half * 2 + 1], scale_log2, -offset));
                    total[m][half] += a + b;
                    shares[m][column / 2][column % 2 * 2 + half] = Half::pair(a, b);
                }
            }
        }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
#pragma unroll
            for (int column = 0; column < D / 8; column += 2) {
                // Sixteen keys, sixteen features.
                uint32_t b[4];
                load4_transposed(b, values + place(step * 16 + lane % 16, column + lane / 16));
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    Half::mma(sums[m][column], shares[m][step], b[0], b[1]);
                    Half::mma(sums[m][column + 1], shares[m][step], b[2], b[3]);
                }
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = total[m][half];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            float factor = 1.0f / sum;
            int row = first + warp * 32 + m * 16 + half * 8 + lane / 4;
            if (row >= n) continue;
#pragma unroll
            for (int column = 0; column < D / 8; column++) {
                uint32_t two = Half::pair(sums[m][column][half * 2] * factor, sums[m][column][half * 2 + 1] * factor);
                *reinterpret_cast<uint32_t *>(out + row * out_stride + column * 8 + lane % 4 * 2) = two;
            }
        }
}

// ---------------------------------------------------------------------------------------------
// One thread for each output.

__device__ __forceinline__ float gelu(float v) { return 0.5f * v * (1.0f + erff(v * 0.70710678118654752f)); }

// out = gelu(x + bias), [n, width]
template <typename Half>
__device__ __forceinline__ void bias_gelu(const typename Half::T *x, const typename Half::T *bias,
                                          typename Half::T *out, uint32_t count, uint32_t width) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = Half::narrow(gelu(Half::widen(x[i]) + Half::widen(bias[i % width])));
}

// out = (first half of x + bias) * gelu(second half of x + bias), x [n, 2 width]
template <typename Half>
__device__ __forceinline__ void bias_geglu(const typename Half::T *x, const typename Half::T *bias,
                                           typename Half::T *out, uint32_t count, uint32_t width) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint32_t column = i % width;
    const typename Half::T *row = x + static_cast<size_t>(i / width) * 2 * width;
    float value = Half::widen(row[column]) + Half::widen(bias[column]);
    float gate = Half::widen(row[width + column]) + Half::widen(bias[width + column]);
    out[i] = Half::narrow(value * gelu(gate));
}

// out = residual + x + bias, [n, width], residual and out f32
template <typename Half>
__device__ __forceinline__ void bias_add(const typename Half::T *x, const typename Half::T *bias, const float *residual,
                                         float *out, uint32_t count, uint32_t width) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = residual[i] + (Half::widen(x[i]) + Half::widen(bias[i % width]));
}

// Layer norm of rows of f32 to half precision: one block of 256 threads a row.
template <typename Half>
__device__ __forceinline__ void norm(const float *x, const float *weight, const float *bias, typename Half::T *out,
                                     uint32_t width, float eps) {
    __shared__ float parts[2][8];
    const float *row = x + static_cast<size_t>(blockIdx.x) * width;
    auto over_block = [&](float v, int which) {
        for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
        if (threadIdx.x % 32 == 0) parts[which][threadIdx.x / 32] = v;
        __syncthreads();
        float sum = 0.0f;
        for (int i = 0; i < 8; i++) sum += parts[which][i];
        return sum;
    };
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < width; i += 256) sum += row[i];
    float mean = over_block(sum, 0) / width;
    float squares = 0.0f;
    for (uint32_t i = threadIdx.x; i < width; i += 256) squares += (row[i] - mean) * (row[i] - mean);
    float factor = rsqrtf(over_block(squares, 1) / width + eps);
    for (uint32_t i = threadIdx.x; i < width; i += 256)
        out[static_cast<size_t>(blockIdx.x) * width + i] = Half::narrow((row[i] - mean) * factor * weight[i] + bias[i]);
}

#define KERNELS(NAME, HALF)                                                                                            \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        attention_##NAME(const HALF::T *q, const HALF::T *k, const HALF::T *v, HALF::T *out, int n, int n_keys,        \
                         int64_t q_stride, int64_t k_stride, int64_t v_stride, int64_t out_stride, float scale_log2) { \
        attend<HALF>(q, k, v, out, n, n_keys, q_stride, k_stride, v_stride, out_stride, scale_log2);                   \
    }                                                                                                                  \
    extern "C" __global__ void gelu_##NAME(const HALF::T *x, const HALF::T *bias, HALF::T *out, uint32_t count,        \
                                           uint32_t width) {                                                           \
        bias_gelu<HALF>(x, bias, out, count, width);                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void geglu_##NAME(const HALF::T *x, const HALF::T *bias, HALF::T *out, uint32_t count,       \
                                            uint32_t width) {                                                          \
        bias_geglu<HALF>(x, bias, out, count, width);                                                                  \
    }                                                                                                                  \
    extern "C" __global__ void add_##NAME(const HALF::T *x, const HALF::T *bias, const float *residual, float *out,    \
                                          uint32_t count, uint32_t width) {                                            \
        bias_add<HALF>(x, bias, residual, out, count, width);                                                          \
    }                                                                                                                  \
    extern "C" __global__ void norm_##NAME(const float *x, const float *weight, const float *bias, HALF::T *out,       \
                                           uint32_t width, float eps) {                                                \
        norm<HALF>(x, weight, bias, out, width, eps);                                                                  \
    }

KERNELS(bf16, Bf16)
KERNELS(f16, F16)
