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

/// Outputs side by side, or one below the other, all with the same taps.
struct Line {
    /// Those that are wanted, and those that can be computed.
    wanted: Range<usize>,
    possible: Range<usize>,
    along: Along,
}

enum Along {
    Row(usize),
    Column(usize),
}

impl Line {
    /// Row and column.
    fn output(&self, i: usize) -> (usize, usize) {
        match self.along {
            Along::Row(row) => (row, i),
            Along::Column(column) => (i, column),
        }
    }
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
        let (inner_rows, inner) = (shape.inner(inputs.h), shape.inner(inputs.w));
        let within = |range: &Range<usize>, of: &Range<usize>| range.start.max(of.start)..range.end.min(of.end);
        let edges = || columns.clone().filter(|x| !inner.contains(x));
        let all = 0..shape.kernel;
        for panel in 0..self.n_panels() {
            let run = |taps: (Range<usize>, Range<usize>), line: Line| {
                let segments = self.segments_in_place(inputs, taps);
                self.run_line(panel, &segments, &line, inputs, to);
            };
            for row in rows.clone() {
                let taps = shape.taps(row, inputs.h);
                let line = |wanted, possible| Line { wanted, possible, along: Along::Row(row) };
                run((taps.clone(), all.clone()), line(within(&columns, &inner), inner.clone()));
                if !inner_rows.contains(&row) {
                    for x in edges() {
                        // Outputs beside it, further from the border, have its taps too.
                        let possible = if x < inner.start { x..inner.end } else { inner.start..x + 1 };
                        run((taps.clone(), shape.taps(x, inputs.w)), line(x..x + 1, possible));
                    }
                }
            }
            for x in edges() {
                let wanted = within(&rows, &inner_rows);
                let line = Line { wanted, possible: inner_rows.clone(), along: Along::Column(x) };
                run((all.clone(), shape.taps(x, inputs.w)), line);
            }
        }
    }

    /// `segments` are the taps of the line.
    fn run_line(&self, panel: usize, segments: &[Segment], line: &Line, inputs: &Inputs, to: Target) {
        let pixel = |i: usize| {
            let (row, column) = line.output(i);
            (row * inputs.w + column) * self.shape.stride
        };
        let tile = self.tile(panel, segments, pixel(1) - pixel(0), to);
        let lengths = self.lengths(tile.width, tile.apart);
        let mut places = [NOBODY; 2 * PANEL];
        let mut first = line.wanted.start;
        while first < line.wanted.end {
            let n = lengths.of(line.wanted.end - first, line.possible.len());
            let start = first.min(line.possible.end - n);
            for (i, place) in (start..).zip(&mut places[..n]) {
                let is_wanted = first <= i && i < line.wanted.end;
                let (row, column) = line.output(i);
                *place = if is_wanted { self.place(&to, panel, row, column) } else { NOBODY };
            }
            // SAFETY: all pixels of the tile have all of its taps inside the picture; the panel is
            // whole; outputs of a block and panel are one task's.
            unsafe { tile::tile(self.isa, &Tile { pixel: pixel(start), to: &places[..n], ..tile }) }
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
            let len = len / depth.folded;
            for (ky, kx) in rows.clone().flat_map(|ky| columns.clone().map(move |kx| (ky, kx))) {
                let mut row = first_row + (ky * shape.kernel + kx) * len;
                let mut before = 0;
                for part in inputs.parts {
                    let words = part.values.words(depth.products, part.channels);
                    let (pixel_0, per_pixel) = words.expect("the plan asked for words");
                    // Words of this part in the chunk.
                    let (start, end) = (first.max(before), (first + len).min(before + per_pixel));
                    if start < end {
                        let pixel = (ky * inputs.w + kx) * shape.dilation;
                        let from = pixel_0.wrapping_add(pixel * per_pixel + start - before);
                        let from = from.wrapping_sub(shape.padding * (inputs.w + 1) * per_pixel);
                        push(&mut segments, Segment { from, depth: end - start, per_pixel, row });
                        row += end - start;
                    }
                    before += per_pixel;
                }
            }
            first_row += shape.kernel * shape.kernel * len;
        }
        segments
    }
}
