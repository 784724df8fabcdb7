//! Convolutions of all channels with all channels: the picture in pieces, pieces in tiles.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        Isa,
        bf16::Parts,
        buffer::{Shared, with_kept, with_scratch},
        tile::Bf16Tiles,
    },
    ConvShape, Convolution, Then,
    after::Kind,
    gather::{Block, Gathered, Inputs, gather, gather_row},
    plan::Plan,
    tile::{self, Lengths, NOBODY, PANEL, Segment, Tile},
    transposed::TransposedShape,
    values::Output,
    weights::{Products, Weights},
};

pub(super) struct Dense {
    pub shape: ConvShape,
    pub weights: Weights,
    after: Kind,
    pub isa: Isa,
    /// Outputs are kinds of those of a transposed convolution.
    spread: Option<TransposedShape>,
}

/// Where outputs go: a picture of `h` x `w`.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub y: Output,
    pub h: usize,
    pub w: usize,
    pub then: Then<'a>,
}

/// What was gathered of a picture, for the outputs of a block.
struct Piece {
    block: Block,
    lay: Gathered,
    a: *const f32,
}

impl Dense {
    pub fn new(layer: &Convolution, products: Products, isa: Isa) -> Dense {
        Dense::in_groups(layer, layer.shape.n_out, None, products, isa)
    }

    /// The kinds of a transposed convolution, each `group` outputs.
    pub fn spread(layer: &Convolution, shape: TransposedShape, products: Products, isa: Isa) -> Dense {
        Dense::in_groups(layer, shape.per_kind(), Some(shape), products, isa)
    }

    fn in_groups(
        layer: &Convolution,
        group: usize,
        spread: Option<TransposedShape>,
        products: Products,
        isa: Isa,
    ) -> Dense {
        Dense {
            shape: layer.shape,
            weights: Weights::new(layer, group, products, isa),
            after: layer.after.kind(),
            isa,
            spread,
        }
    }

    /// Whether inputs are rounded to bf16 before they are multiplied.
    pub fn rounds_inputs(&self) -> bool {
        matches!(self.weights.depth.products, Products::Pairs | Products::Tiles(Parts::One))
    }

    /// `to` has room for the outputs of the whole picture.
    pub fn apply(&self, inputs: &Inputs, to: Target) {
        // A layer of one tap knows no rows: all pixels are one. Outputs that are spread have theirs.
        let row = Inputs { parts: inputs.parts, h: 1, w: inputs.h * inputs.w };
        let inputs = if self.is_pointwise() && self.spread.is_none() { &row } else { inputs };
        match self.plan(inputs) {
            Plan::Blocks { rows, columns } => self.in_blocks(rows, columns, inputs, to),
            Plan::Whole { rows, rows_first } => self.whole(rows, rows_first, inputs, to),
            Plan::InPlace { down, across } => self.in_place(down, across, inputs, to),
        }
    }

    /// Every thread gathers blocks for itself.
    fn in_blocks(&self, rows: usize, columns: usize, inputs: &Inputs, to: Target) {
        let depth = &self.weights.depth;
        let (out_h, out_w) = (self.shape.size(inputs.h), self.shape.size(inputs.w));
        let across = out_w.div_ceil(columns);
        (0..out_h.div_ceil(rows) * across).into_par_iter().for_each(|i| {
            let (y_first, x) = (i / across * rows, i % across * columns);
            let block = Block { y: y_first, x, rows: rows.min(out_h - y_first), columns: columns.min(out_w - x) };
            let lay = Gathered::new(&self.shape, depth, block.rows, block.columns);
            let _tiles = self.tiles();
            with_scratch([lay.len(depth) + self.behind()], |[a]| {
                gather(self.isa, &self.shape, depth, inputs, &block, a);
                for panel in 0..self.n_panels() {
                    self.run_panel(panel, &Piece { block, lay, a: a.as_ptr() }, inputs, to);
                }
            });
        });
    }

    /// All threads gather the picture together, then take panels of a few rows each.
    fn whole(&self, rows: usize, rows_first: bool, inputs: &Inputs, to: Target) {
        let depth = &self.weights.depth;
        let (out_h, out_w) = (self.shape.size(inputs.h), self.shape.size(inputs.w));
        let picture = Block { y: 0, x: 0, rows: out_h, columns: out_w };
        let lay = Gathered::new(&self.shape, depth, out_h, out_w);
        let (n_panels, n_parts) = (self.n_panels(), out_h.div_ceil(rows));
        with_kept(lay.len(depth) + self.behind(), |a| {
            let a = Shared(a.as_mut_ptr());
            (0..lay.rows).into_par_iter().for_each(|row| {
                // SAFETY: there is room for the picture, and the row is this task's.
                unsafe { gather_row(self.isa, &self.shape, depth, inputs, &picture, row, a.get()) }
            });
            (0..n_panels * n_parts).into_par_iter().for_each(|i| {
                let (part, panel) = if rows_first { (i / n_panels, i % n_panels) } else { (i % n_parts, i / n_parts) };
                let first = part * rows;
                let block = Block { y: first, rows: rows.min(out_h - first), ..picture };
                let at = a.get().wrapping_add(first * self.shape.stride * lay.pitch * depth.stride);
                let _tiles = self.tiles();
                self.run_panel(panel, &Piece { block, lay, a: at }, inputs, to);
            });
        });
    }

    /// The right to use AMX, where it is used.
    fn tiles(&self) -> Option<Bf16Tiles> {
        match self.weights.depth.products {
            Products::Tiles(parts) => Some(Bf16Tiles::new(self.isa, parts)),
            _ => None,
        }
    }

    /// Tiles run over the end of what was gathered; what they read there nobody sees.
    fn behind(&self) -> usize {
        2 * PANEL * self.weights.depth.stride
    }

    fn is_pointwise(&self) -> bool {
        let ConvShape { kernel, stride, padding, .. } = self.shape;
        (kernel, stride, padding) == (1, 1, 0)
    }

    /// Of tiles of panels of this width, `apart` words from pixel to pixel.
    pub fn lengths(&self, width: usize, apart: usize) -> Lengths {
        Lengths::new(self.isa, self.weights.depth.products, width, apart)
    }

    pub fn n_panels(&self) -> usize {
        self.weights.panels.n
    }

    /// Outputs of a panel that exist.
    fn outputs(&self, panel: usize) -> usize {
        let at = self.weights.panels.first(panel);
        let left = self.spread.map_or(self.shape.n_out - at, |shape| shape.n_out - at % shape.per_kind());
        left.min(self.weights.panels.width(panel))
    }

    /// Of a pixel of the convolution's outputs, the first number of a panel.
    pub fn place(&self, to: &Target, panel: usize, row: usize, column: usize) -> usize {
        let at = self.weights.panels.first(panel);
        let Some(shape) = &self.spread else { return (row * to.w + column) * self.shape.n_out + at };
        let (kind, at) = (at / shape.per_kind(), at % shape.per_kind());
        let y = shape.place(row, kind / shape.stride, to.h);
        let x = shape.place(column, kind % shape.stride, to.w);
        y.zip(x).map_or(NOBODY, |(y, x)| (y * to.w + x) * shape.n_out + at)
    }

    /// What is common to the tiles of a panel: all but where they begin and end.
    pub fn tile<'a>(&'a self, panel: usize, segments: &'a [Segment], step: usize, to: Target<'a>) -> Tile<'a> {
        let Weights { values, bias, slopes, depth, panels } = &self.weights;
        let at = panels.first(panel);
        let per_pixel = segments.first().map_or(0, |segment| segment.per_pixel);
        Tile {
            segments,
            pixel: 0,
            step,
            apart: if segments.iter().all(|s| s.per_pixel == per_pixel) { step * per_pixel } else { 0 },
            products: depth.products,
            part_stride: depth.part_stride(),
            b: values[at * depth.n_rows(self.shape.kernel)..].as_ptr(),
            width: panels.width(panel),
            y: to.y,
            to: &[],
            outputs: self.outputs(panel),
            bias: bias[at..].as_ptr(),
            slopes: slopes.as_ref().unwrap_or(bias)[at..].as_ptr(),
            after: self.after,
            then: to.then,
        }
    }

    /// All tiles of a panel.
    fn run_panel(&self, panel: usize, piece: &Piece, inputs: &Inputs, to: Target) {
        let Piece { block, lay, a } = piece;
        let ConvShape { kernel, stride, .. } = self.shape;
        let (run, n_runs) = self.runs(block.rows, block.columns, lay, self.weights.panels.width(panel));
        let is_one_run = n_runs == 1 && block.rows > 1;
        let mut places = [NOBODY; 2 * PANEL];
        let (mut taps, mut segments) = (0..0, Vec::new());
        for first_row in 0..n_runs {
            // Rows of taps beyond the border add nothing; AMX takes all in their order.
            let inside = self.shape.taps(block.y + first_row, inputs.h);
            let wanted = if is_one_run || self.is_amx() { 0..kernel } else { inside };
            if taps != wanted {
                segments = self.segments(lay, *a, wanted.clone());
                taps = wanted;
            }
            let panel_tile = self.tile(panel, &segments, 1, to);
            let lengths = self.lengths(panel_tile.width, panel_tile.apart);
            let (mut first, mut row, mut column) = (0, first_row, 0);
            while first < run {
                let n = lengths.of(run - first, usize::MAX);
                for place in &mut places[..n] {
                    let is_output = row < block.rows && column < block.columns;
                    let (y, x) = (block.y + row, block.x + column);
                    *place = if is_output { self.place(&to, panel, y, x) } else { NOBODY };
                    column += 1;
                    if n_runs == 1 && column == lay.pitch {
                        (row, column) = (row + 1, 0);
                    }
                }
                let pixel = first_row * stride * lay.pitch + first;
                // SAFETY: tiles begin at pixels of the block and end at most a tile after it, where
                // scratch goes on; the panel is whole; outputs of a block and panel are one task's.
                unsafe { tile::tile(self.isa, &Tile { pixel, to: &places[..n], ..panel_tile }) }
                first += n;
            }
        }
    }

    /// Length and number of runs of pixels of a block, each of which is cut in tiles: its rows, or,
    /// where they lie one behind the other and fewer tiles are needed so, all of it with the few
    /// pixels between rows, which are of no output.
    pub fn runs(&self, rows: usize, columns: usize, lay: &Gathered, width: usize) -> (usize, usize) {
        let lengths = self.lengths(width, self.weights.depth.stride);
        let n = lengths.longest;
        let all = (rows - 1) * lay.pitch + columns;
        let tail = if columns.is_multiple_of(n) { 0 } else { lengths.of(columns % n, usize::MAX) };
        let in_rows = rows * (columns / n * n + tail);
        if self.shape.stride == 1 && rows > 1 && all.next_multiple_of(n) < in_rows { (all, 1) } else { (columns, rows) }
    }

    /// Chunks and the rows `rows` of taps of what was gathered to `a`.
    fn segments(&self, lay: &Gathered, a: *const f32, rows: Range<usize>) -> Vec<Segment> {
        let ConvShape { kernel, dilation, .. } = self.shape;
        let depth = &self.weights.depth;
        let in_row = kernel / depth.folded;
        let mut segments = Vec::with_capacity(depth.n_chunks() * rows.len() * in_row);
        let mut first_row = 0;
        for (chunk, (_, len)) in depth.chunks().enumerate() {
            for (ky, kx) in rows.clone().flat_map(|ky| (0..in_row).map(move |kx| (ky, kx))) {
                let pixel = (chunk * lay.rows + ky * dilation) * lay.pitch + lay.place(kx * dilation);
                let from = a.wrapping_add(pixel * depth.stride);
                let row = first_row + (ky * in_row + kx) * len;
                push(&mut segments, Segment { from, depth: len, per_pixel: depth.stride, row });
            }
            first_row += kernel * in_row * len;
        }
        segments
    }

    fn is_amx(&self) -> bool {
        matches!(self.weights.depth.products, Products::Tiles(_))
    }
}

/// One segment where the last ends and this begins.
pub(super) fn push(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last)
            if last.per_pixel == segment.per_pixel
                && last.row + last.depth == segment.row
                && last.from.wrapping_add(last.depth) == segment.from =>
        {
            last.depth += segment.depth
        }
        _ => segments.push(segment),
    }
}
