//! Convolutions that read their inputs where they are.
//!
//! An output all of whose taps are inside the picture needs no zeros around it: tiles of outputs side
//! by side read pixels side by side. Outputs near the left and right border lack some taps, the same
//! ones down the picture: tiles of them go down. At the upper and lower border rows of taps are left
//! out. A tile that would reach over the end of such a zone begins earlier and computes a few outputs
//! once more, for nobody.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    dense::{Dense, Target, push},
    gather::Inputs,
    tile::{self, NOBODY, PANEL, Segment, Tile},
};

/// Outputs along a line, all with the same taps.
struct Line<'a> {
    /// Those that are wanted, and those that can be computed.
    wanted: Range<usize>,
    possible: Range<usize>,
    /// Of each the first pixel of the inputs, and its row and column.
    pixel: &'a dyn Fn(usize) -> usize,
    output: &'a dyn Fn(usize) -> (usize, usize),
}

impl Dense {
    pub fn in_place(&self, down: usize, across: usize, inputs: &Inputs, to: Target) {
        let (out_h, out_w) = (self.shape.size(inputs.h), self.shape.size(inputs.w));
        let part = |n: usize, i: usize, of: usize| i * n / of..(i + 1) * n / of;
        (0..down * across).into_par_iter().for_each(|i| {
            let (rows, columns) = (part(out_h, i / across, down), part(out_w, i % across, across));
            self.in_place_block(rows, columns, inputs, to);
        });
    }

    fn in_place_block(&self, rows: Range<usize>, columns: Range<usize>, inputs: &Inputs, to: Target) {
        let shape = &self.shape;
        let (stride, in_w) = (shape.stride, inputs.w);
        let (inner_rows, inner) = (shape.inner(inputs.h), shape.inner(inputs.w));
        let within = |range: &Range<usize>, of: &Range<usize>| range.start.max(of.start)..range.end.min(of.end);
        let edges = || columns.clone().filter(|x| !inner.contains(x));
        let all = 0..shape.kernel;
        for panel in 0..self.n_panels() {
            let run = |taps: (Range<usize>, Range<usize>), step: usize, line: Line| {
                let segments = self.segments_in_place(inputs, taps);
                let tile = Tile { step, ..self.tile(panel, &segments, to) };
                self.run_line(&tile, &line, |(row, column)| self.place(&to, panel, row, column));
            };
            for row in rows.clone() {
                let taps = shape.taps(row, inputs.h);
                let pixel = |x: usize| (row * in_w + x) * stride;
                let output = |x: usize| (row, x);
                let line = |wanted, possible| Line { wanted, possible, pixel: &pixel, output: &output };
                run((taps.clone(), all.clone()), stride, line(within(&columns, &inner), inner.clone()));
                if !inner_rows.contains(&row) {
                    for x in edges() {
                        // Outputs beside it, further from the border, have its taps too.
                        let possible = if x < inner.start { x..inner.end } else { inner.start..x + 1 };
                        run((taps.clone(), shape.taps(x, in_w)), stride, line(x..x + 1, possible));
                    }
                }
            }
            for x in edges() {
                let pixel = |row: usize| (row * in_w + x) * stride;
                let output = |row: usize| (row, x);
                let wanted = within(&rows, &inner_rows);
                let line = Line { wanted, possible: inner_rows.clone(), pixel: &pixel, output: &output };
                run((all.clone(), shape.taps(x, in_w)), stride * in_w, line);
            }
        }
    }

    fn run_line(&self, panel: &Tile, line: &Line, place: impl Fn((usize, usize)) -> usize) {
        let mut places = [NOBODY; 2 * PANEL];
        let mut first = line.wanted.start;
        while first < line.wanted.end {
            let n = self.n_pixels(panel.width, line.wanted.end - first);
            let start = first.min(line.possible.end - n);
            for (i, to) in (start..).zip(&mut places[..n]) {
                let is_wanted = first <= i && i < line.wanted.end;
                *to = if is_wanted { place((line.output)(i)) } else { NOBODY };
            }
            // SAFETY: all pixels of the tile have all of its taps inside the picture; the panel is
            // whole; outputs of a block and panel are one task's.
            unsafe { tile::tile(self.isa, &Tile { pixel: (line.pixel)(start), to: &places[..n], ..*panel }) }
            first = start + n;
        }
    }

    /// Rows and columns of taps, of output 0: places outside the inputs where it lacks some.
    fn segments_in_place(&self, inputs: &Inputs, (rows, columns): (Range<usize>, Range<usize>)) -> Vec<Segment> {
        let shape = &self.shape;
        let depth = &self.weights.depth;
        let mut segments = Vec::with_capacity(depth.n_chunks() * rows.len() * columns.len() * inputs.parts.len());
        let mut first_row = 0;
        for (first, len) in depth.chunks() {
            for (ky, kx) in rows.clone().flat_map(|ky| columns.clone().map(move |kx| (ky, kx))) {
                let mut row = first_row + (ky * shape.kernel + kx) * len;
                let mut before = 0;
                for part in inputs.parts {
                    // Channels of this part in the chunk.
                    let (start, end) = (first.max(before), (first + len).min(before + part.channels));
                    if start < end {
                        let pixel = (ky * inputs.w + kx) * shape.dilation;
                        let from = part.values.f32().as_ptr().wrapping_add(pixel * part.channels + start - before);
                        let from = from.wrapping_sub(shape.padding * (inputs.w + 1) * part.channels);
                        push(&mut segments, Segment { from, depth: end - start, per_pixel: part.channels, row });
                        row += end - start;
                    }
                    before += part.channels;
                }
            }
            first_row += shape.kernel * shape.kernel * len;
        }
        segments
    }
}
