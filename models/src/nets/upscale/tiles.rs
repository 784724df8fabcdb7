//! A picture in pieces that overlap and fade into one another.

use std::ops::Range;

use ::image::RgbImage;
use rayon::prelude::*;

use super::to_byte;

/// The pieces of a picture, rows of columns.
pub(super) struct Tiles {
    columns: Vec<Span>,
    rows: Vec<Span>,
}

/// A piece of one axis, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    end: u32,
    /// Pixels that it shares with the piece before and the one after.
    before: u32,
    after: u32,
}

impl Span {
    pub fn len(&self) -> u32 {
        self.end - self.start
    }

    /// How much the place at `at` pixels from the start counts, of `len` in all: nothing in the outer
    /// quarter of what is shared, where the piece does not see enough, then ever more.
    fn weight(&self, at: f32) -> f32 {
        let ramp = |distance: f32, shared: u32| {
            if shared == 0 { 1.0 } else { ((distance / shared as f32 - 0.25) * 2.0).clamp(0.0, 1.0) }
        };
        ramp(at, self.before).min(ramp(self.len() as f32 - at, self.after))
    }
}

/// `n` pixels in as few equal pieces of up to `longest` as share `overlap` pixels.
fn spans(n: usize, longest: usize, overlap: usize) -> Vec<Span> {
    let longest = longest.max(2 * overlap + 1);
    if n <= longest {
        return vec![Span { start: 0, end: n as u32, before: 0, after: 0 }];
    }
    let n_pieces = (n - overlap).div_ceil(longest - overlap);
    let starts: Vec<usize> = (0..n_pieces).map(|i| i * (n - overlap) / n_pieces).collect();
    let end = |i: usize| starts.get(i + 1).map_or(n, |next| next + overlap) as u32;
    let shared = |exists: bool| if exists { overlap as u32 } else { 0 };
    let span = |i: usize| Span {
        start: starts[i] as u32,
        end: end(i),
        before: shared(i > 0),
        after: shared(i + 1 < n_pieces),
    };
    (0..n_pieces).map(span).collect()
}

#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub x: &'a Span,
    pub y: &'a Span,
}

impl Tiles {
    /// Pieces of at most `largest` pixels, neighbours share `overlap`.
    pub fn new(width: usize, height: usize, overlap: usize, largest: usize) -> Tiles {
        // A long, narrow picture has longer pieces.
        let side = (largest as f64).sqrt() as usize;
        let columns = spans(width, (largest / height.min(side)).max(side), overlap);
        let widest = columns.iter().map(|span| span.len() as usize).max().unwrap_or(1);
        Tiles { rows: spans(height, (largest / widest).max(side.min(height)), overlap), columns }
    }

    pub fn len(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = Tile<'_>> {
        self.rows.iter().flat_map(|y| self.columns.iter().map(move |x| Tile { x, y }))
    }

    /// For a result `factor` times as wide and high.
    pub fn sums(&self, factor: usize) -> Sums {
        let n = |spans: &[Span]| spans.last().map_or(0, |span| span.end as usize * factor);
        let (width, height) = (n(&self.columns), n(&self.rows));
        let content =
            if self.len() == 1 { Content::Bytes(Vec::new()) } else { Content::Sums(vec![0.0; width * height * 3]) };
        Sums { width, height, factor, content }
    }
}

/// A result in the making.
pub(super) struct Sums {
    width: usize,
    height: usize,
    factor: usize,
    content: Content,
}

enum Content {
    /// Of the only piece.
    Bytes(Vec<u8>),
    Sums(Vec<f32>),
}

impl Sums {
    /// Adds the result of a piece, [h, w, 3].
    pub fn add(&mut self, tile: &Tile, values: &[f32]) {
        let sums = match &mut self.content {
            Content::Bytes(bytes) => {
                *bytes = values.par_iter().map(|v| to_byte(*v)).collect();
                return;
            }
            Content::Sums(sums) => sums,
        };
        let factor = self.factor;
        let scaled = |span: &Span| -> Range<usize> { span.start as usize * factor..span.end as usize * factor };
        let (columns, rows) = (scaled(tile.x), scaled(tile.y));
        let weight = |span: &Span, i: usize| span.weight((i as f32 + 0.5) / factor as f32);
        let across: Vec<f32> = (0..columns.len()).map(|i| weight(tile.x, i)).collect();
        let sums = &mut sums[rows.start * self.width * 3..rows.end * self.width * 3];
        let lines = sums.par_chunks_mut(self.width * 3).zip(values.par_chunks(columns.len() * 3)).enumerate();
        lines.for_each(|(row, (sums, values))| {
            let down = weight(tile.y, row);
            let pixels = sums[columns.start * 3..columns.end * 3].chunks_exact_mut(3).zip(values.chunks_exact(3));
            for ((sums, values), across) in pixels.zip(&across) {
                sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += down * across * v);
            }
        });
    }

    pub fn picture(self) -> RgbImage {
        let bytes = match self.content {
            Content::Bytes(bytes) => bytes,
            Content::Sums(sums) => sums.par_iter().map(|v| to_byte(*v)).collect(),
        };
        RgbImage::from_raw(self.width as u32, self.height as u32, bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_picture_and_their_weights_add_up_to_one() {
        for (n, longest, overlap) in [(1, 9, 2), (9, 9, 2), (10, 9, 2), (1000, 100, 16), (4097, 544, 48), (50, 1, 8)] {
            let spans = spans(n, longest, overlap);
            assert!(spans.iter().all(|span| span.len() as usize <= longest.max(2 * overlap + 1)), "{spans:?}");
            let mut sums = vec![0.0_f32; 4 * n];
            for span in &spans {
                for i in 0..4 * span.len() as usize {
                    sums[4 * span.start as usize + i] += span.weight((i as f32 + 0.5) / 4.0);
                }
            }
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{n} {longest} {overlap}: {sums:?}");
        }
    }

    #[test]
    fn pieces_are_no_larger_than_allowed_and_as_few_as_can_be() {
        let n = |width, height| Tiles::new(width, height, 48, 544 * 544).len();
        assert_eq!((n(512, 512), n(544, 544), n(1024, 1024), n(4096, 64)), (1, 1, 4, 1));
        for tiles in [Tiles::new(3000, 2000, 48, 544 * 544), Tiles::new(100, 9000, 40, 768 * 768)] {
            assert!(tiles.iter().all(|tile| tile.x.len() * tile.y.len() <= 768 * 768));
        }
    }
}
