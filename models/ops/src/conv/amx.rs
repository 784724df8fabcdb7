//! Sums of a tile by AMX: rows of its tiles are pixels, where they were gathered, and rows of weights.

use super::{
    super::bf16::Parts,
    tile::{PANEL, Tile},
};

/// Pixels of an AMX tile.
pub(super) const ROWS: usize = 16;

/// Numbers of the sums of a tile.
pub(super) const SUMS: usize = 2 * ROWS * PANEL;

/// Writes `tile.width` sums for each pixel.
///
/// # Safety
/// As `tile::tile`; this thread's tiles are configured (`Bf16Tiles`), and `c` has `SUMS` places.
pub(super) unsafe fn multiply(tile: &Tile, parts: Parts, c: *mut f32) {
    // SAFETY: the caller's promises.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        match (tile.width == PANEL, tile.to.len() > ROWS, parts) {
            (true, true, Parts::One) => x86::whole(tile, c),
            (true, true, Parts::Two) => x86::whole_of_two_parts(tile, c),
            (true, false, Parts::One) => x86::short(tile, c),
            (true, false, Parts::Two) => x86::short_of_two_parts(tile, c),
            (false, _, Parts::One) => x86::narrow(tile, c),
            (false, _, Parts::Two) => x86::narrow_of_two_parts(tile, c),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("{parts:?} {c:?} {:?} {:?}", tile.width, tile.part_stride);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::{
        super::tile::{Segment, Tile},
        ROWS,
    };

    const _: () = assert!(size_of::<Segment>() == 32, "as the loop steps");

    /// Two bf16 parts lie `second` bytes apart in a, and 16 rows apart in b.
    macro_rules! multiply {
        ($name:ident, $b_bytes:literal, [$($zero:literal),*], [$($step:literal),* $(,)?], [$($store:literal),* $(,)?]) => {
            pub unsafe fn $name(tile: &Tile, c: *mut f32) {
                let pixel_bytes = tile.segments[0].per_pixel * size_of::<f32>();
                let (a_bytes, b_bytes) = (tile.step * pixel_bytes, tile.width * size_of::<f32>());
                // SAFETY: as the caller promised; the frame is not touched. A segment begins with its
                // place and depth; all have pixels as far apart as the first.
                unsafe {
                    asm!(
                        $(concat!("tilezero ", $zero),)*
                        "2:",
                        "mov {at}, [{segment}]",
                        "add {at}, {first}",
                        "lea {low}, [{at} + {rows}]",
                        "mov {steps}, [{segment} + 8]",
                        "shr {steps}, 4",
                        "3:",
                        $($step,)*
                        "add {at}, 64",
                        "add {low}, 64",
                        concat!("add {b}, ", $b_bytes),
                        "dec {steps}",
                        "jnz 3b",
                        "add {segment}, 32",
                        "dec {segments}",
                        "jnz 2b",
                        $($store,)*
                        first = in(reg) tile.pixel * pixel_bytes,
                        rows = in(reg) ROWS * a_bytes,
                        line = in(reg) a_bytes,
                        second = in(reg) tile.part_stride * size_of::<f32>(),
                        b = inout(reg) tile.b => _,
                        b_line = in(reg) b_bytes,
                        c = in(reg) c,
                        segment = inout(reg) tile.segments.as_ptr() => _,
                        segments = inout(reg) tile.segments.len() => _,
                        at = out(reg) _,
                        low = out(reg) _,
                        steps = out(reg) _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                }
            }
        };
    }

    multiply! { whole, 2048, ["tmm0", "tmm1", "tmm2", "tmm3"], [
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm7, [{b} + {b_line} + 64]",
        "tileloadd tmm5, [{low} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 64], tmm1",
        "tilestored [{c} + {b_line} + 2048], tmm2",
        "tilestored [{c} + {b_line} + 2112], tmm3",
        "/* {second} */",
    ] }

    multiply! { whole_of_two_parts, 4096, ["tmm0", "tmm1", "tmm2", "tmm3"], [
        "add {at}, {second}",
        "add {low}, {second}",
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm7, [{b} + {b_line} + 64]",
        "tileloadd tmm5, [{low} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "sub {at}, {second}",
        "sub {low}, {second}",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm5, [{low} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "tileloadd tmm6, [{b} + {b_line} + 2048]",
        "tileloadd tmm7, [{b} + {b_line} + 2112]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 64], tmm1",
        "tilestored [{c} + {b_line} + 2048], tmm2",
        "tilestored [{c} + {b_line} + 2112], tmm3",
    ] }

    multiply! { short, 2048, ["tmm0", "tmm1"], [
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm7, [{b} + {b_line} + 64]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 64], tmm1",
        "/* {second} */",
    ] }

    multiply! { short_of_two_parts, 4096, ["tmm0", "tmm1"], [
        "tileloadd tmm4, [{at} + {line}]",
        "add {at}, {second}",
        "tileloadd tmm5, [{at} + {line}]",
        "sub {at}, {second}",
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm7, [{b} + {b_line} + 64]",
        "tdpbf16ps tmm0, tmm5, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm7",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {b_line} + 2048]",
        "tileloadd tmm7, [{b} + {b_line} + 2112]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 64], tmm1",
    ] }

    multiply! { narrow, 1024, ["tmm0", "tmm1"], [
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm5, [{low} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm6",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 1024], tmm1",
        "/* {second} */",
    ] }

    multiply! { narrow_of_two_parts, 2048, ["tmm0", "tmm1"], [
        "tileloadd tmm6, [{b} + {b_line}]",
        "tileloadd tmm7, [{b} + {b_line} + 1024]",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm5, [{low} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm7",
        "tdpbf16ps tmm1, tmm5, tmm7",
        "add {at}, {second}",
        "add {low}, {second}",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm6",
        "tileloadd tmm4, [{at} + {line}]",
        "tileloadd tmm5, [{low} + {line}]",
        "sub {at}, {second}",
        "sub {low}, {second}",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm6",
    ], [
        "tilestored [{c} + {b_line}], tmm0",
        "tilestored [{c} + {b_line} + 1024], tmm1",
    ] }
}
