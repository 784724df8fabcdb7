//! From the sums of a tile to outputs: bias, activation, and where they go.

use super::{
    super::simd::{LANES, Simd, load_all, load_few, store_few},
    Then,
    after::{Kind, after},
    tile::{NOBODY, Tile},
};

/// # Safety
/// As `tile::tile`; `width` sums of each pixel are at `sums`.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(tile: &Tile, sums: *const f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.after {
            Kind::None => of_vectors::<S>(tile, Kind::None, sums),
            Kind::Slope => of_vectors::<S>(tile, Kind::Slope, sums),
            kind => {
                for first in (0..tile.outputs).step_by(LANES) {
                    outputs::<S, 1>(tile, kind, sums, first)
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn of_vectors<S: Simd>(tile: &Tile, kind: Kind, sums: *const f32) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.width / LANES {
            1 => outputs::<S, 1>(tile, kind, sums, 0),
            2 => outputs::<S, 2>(tile, kind, sums, 0),
            3 => outputs::<S, 3>(tile, kind, sums, 0),
            _ => outputs::<S, 4>(tile, kind, sums, 0),
        }
    }
}

/// `N` vectors of outputs of each pixel, as far as they exist, from number `first` on.
#[inline(always)]
unsafe fn outputs<S: Simd, const N: usize>(tile: &Tile, kind: Kind, sums: *const f32, first: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        match tile.then {
            _ if tile.y.is_bf16 => each::<S, N, Rounded>(tile, kind, sums, first),
            Then::Write if tile.outputs >= first + N * LANES => each::<S, N, Whole>(tile, kind, sums, first),
            Then::Write => each::<S, N, Written>(tile, kind, sums, first),
            Then::Add { .. } => each::<S, N, Added>(tile, kind, sums, first),
        }
    }
}

#[inline(always)]
unsafe fn each<S: Simd, const N: usize, P: Put>(tile: &Tile, kind: Kind, sums: *const f32, first: usize) {
    // SAFETY: `width` sums of each pixel, as many of bias and slopes; `outputs` places.
    unsafe {
        let bias = load_all::<S, N>(tile.bias.add(first), LANES);
        let slopes = load_all::<S, N>(tile.slopes.add(first), LANES);
        let n_vectors = (tile.outputs - first).div_ceil(LANES).min(N);
        for (pixel, &at) in tile.to.iter().enumerate() {
            if at == NOBODY {
                continue;
            }
            for i in 0..N {
                if i < n_vectors {
                    let here = first + i * LANES;
                    let v = S::add(S::load(sums.add(pixel * tile.width + here)), bias[i]);
                    P::put::<S>(tile, at + here, tile.outputs - here, after::<S>(kind, v, slopes[i]));
                }
            }
        }
    }
}

/// What becomes of a vector of outputs, one type for each way, since a loop that asks for every vector is
/// slow.
trait Put {
    /// `v` is the outputs of y from number `at` on, of which `n` exist.
    ///
    /// # Safety
    /// They are nobody else's. As `Simd`.
    unsafe fn put<S: Simd>(tile: &Tile, at: usize, n: usize, v: S::V);
}

/// Vectors all of which exist are written: most are.
struct Whole;
/// They are written.
struct Written;
/// They are added to a residual.
struct Added;
/// They are rounded to bf16.
struct Rounded;

impl Put for Whole {
    #[inline(always)]
    unsafe fn put<S: Simd>(tile: &Tile, at: usize, _: usize, v: S::V) {
        // SAFETY: as promised.
        unsafe { S::store(tile.y.at(at).cast(), v) }
    }
}

impl Put for Written {
    #[inline(always)]
    unsafe fn put<S: Simd>(tile: &Tile, at: usize, n: usize, v: S::V) {
        let to = tile.y.at(at).cast();
        // SAFETY: as promised.
        unsafe { if n >= LANES { S::store(to, v) } else { store_few::<S>(to, v, n) } }
    }
}

impl Put for Added {
    #[inline(always)]
    unsafe fn put<S: Simd>(tile: &Tile, at: usize, n: usize, v: S::V) {
        let Then::Add { scale, residual } = tile.then else { unreachable!("no residual") };
        // SAFETY: the residual is as long as y.
        unsafe {
            let old = residual.as_ptr().add(at);
            let old = if n >= LANES { S::load(old) } else { load_few::<S>(old, n) };
            Written::put::<S>(tile, at, n, S::fma(v, S::splat(scale), old));
        }
    }
}

impl Put for Rounded {
    #[inline(always)]
    unsafe fn put<S: Simd>(tile: &Tile, at: usize, n: usize, v: S::V) {
        let to = tile.y.at(at).cast();
        // SAFETY: as promised.
        unsafe { if n >= LANES { S::store_bf16(to, v) } else { store_few_bf16::<S>(to, v, n) } }
    }
}

/// The first `n` numbers as bf16.
///
/// # Safety
/// As `store_few`.
#[inline(always)]
unsafe fn store_few_bf16<S: Simd>(to: *mut u16, v: S::V, n: usize) {
    let mut all = [0; LANES];
    // SAFETY: as promised.
    unsafe {
        S::store_bf16(all.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(all.as_ptr(), to, n);
    }
}
