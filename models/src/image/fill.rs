//! Colours for the pixels that have none, grown from those that do.
//!
//! Push-pull over a pyramid (Gortler et al., "The Lumigraph", 1996): close to
//! known pixels their colour, further away ever smoother means of it. Every
//! pixel is filled, so coarser versions of the picture mix in nothing foreign.

use rayon::prelude::*;

/// Gives every pixel that is not `known` a colour. `pixels` and `known` are row
/// by row, `width` wide. Nothing happens when no pixel is known.
pub fn fill_unknown(pixels: &mut [[u8; 3]], known: &mut [bool], width: usize) {
    if width == 0 || !known.contains(&true) {
        return;
    }
    let mut levels = vec![Level { width, pixels: pixels.to_vec(), known: known.to_vec() }];
    while levels[levels.len() - 1].known.contains(&false) {
        let coarser = levels[levels.len() - 1].coarser();
        levels.push(coarser);
    }
    while let Some(coarser) = levels.pop() {
        match levels.last_mut() {
            Some(finer) => finer.fill_from(&coarser),
            None => pixels.copy_from_slice(&coarser.pixels),
        }
    }
    known.fill(true);
}

struct Level {
    width: usize,
    pixels: Vec<[u8; 3]>,
    known: Vec<bool>,
}

impl Level {
    fn height(&self) -> usize {
        self.pixels.len() / self.width
    }

    /// Half the size, rounded up; the mean of the known pixels of each 2x2 block.
    fn coarser(&self) -> Level {
        let (width, height) = (self.width.div_ceil(2), self.height().div_ceil(2));
        let mut pixels = vec![[0; 3]; width * height];
        let mut known = vec![false; width * height];
        pixels.par_chunks_mut(width).zip(known.par_chunks_mut(width)).enumerate().for_each(|(y, (pixels, known))| {
            let upper = 2 * y * self.width;
            let lower = (2 * y + 1).min(self.height() - 1) * self.width;
            for x in 0..width {
                // At an odd border the last pixel counts twice, which changes no mean.
                let (left, right) = (2 * x, (2 * x + 1).min(self.width - 1));
                let block = [upper + left, upper + right, lower + left, lower + right];
                let weights = block.map(|i| u32::from(self.known[i]));
                let n: u32 = weights.iter().sum();
                if n == 0 {
                    continue;
                }
                let colors = block.map(|i| self.pixels[i]);
                known[x] = true;
                for k in 0..3 {
                    let sum: u32 = (0..4).map(|j| weights[j] * u32::from(colors[j][k])).sum();
                    pixels[x][k] = ((sum + n / 2) / n) as u8;
                }
            }
        });
        Level { width, pixels, known }
    }

    /// Unknown pixels from the completely known coarser level, bilinear.
    fn fill_from(&mut self, coarser: &Level) {
        let (width, coarse_height) = (self.width, coarser.height());
        // The nearest coarse pixel counts 3/4, the next one 1/4, each way.
        let next =
            |v: usize, n: usize| if v.is_multiple_of(2) { (v / 2).saturating_sub(1) } else { (v / 2 + 1).min(n - 1) };
        self.pixels.par_chunks_mut(width).zip(self.known.par_chunks(width)).enumerate().for_each(
            |(y, (pixels, known))| {
                let row = |y: usize| &coarser.pixels[y * coarser.width..(y + 1) * coarser.width];
                let (near, far) = (row(y / 2), row(next(y, coarse_height)));
                for x in (0..width).filter(|&x| !known[x]) {
                    let (nearest, other) = (x / 2, next(x, coarser.width));
                    for k in 0..3 {
                        let at = |row: &[[u8; 3]], x: usize| u32::from(row[x][k]);
                        let sum = 9 * at(near, nearest) + 3 * at(near, other) + 3 * at(far, nearest) + at(far, other);
                        pixels[x][k] = ((sum + 8) / 16) as u8;
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pixels_stay_and_the_rest_lies_between_them() {
        let (width, height) = (37, 21);
        let mut pixels = vec![[255, 0, 255]; width * height];
        let mut known = vec![false; width * height];
        for (i, v) in [(5, 10), (400, 30), (width * height - 1, 50)] {
            pixels[i] = [v; 3];
            known[i] = true;
        }
        fill_unknown(&mut pixels, &mut known, width);
        assert!(known.iter().all(|k| *k));
        assert_eq!([pixels[5], pixels[400], pixels[width * height - 1]], [[10; 3], [30; 3], [50; 3]]);
        assert!(pixels.iter().all(|p| p.iter().all(|v| (10..=50).contains(v))));
        assert!(pixels[6][0] < 15 && pixels[width * height - 2][0] > 45, "close pixels are alike");
    }

    #[test]
    fn without_known_pixels_nothing_changes() {
        let mut pixels = vec![[7; 3]; 6];
        fill_unknown(&mut pixels, &mut [false; 6], 3);
        assert_eq!(pixels, [[7; 3]; 6]);
        fill_unknown(&mut [], &mut [], 0);
    }
}
