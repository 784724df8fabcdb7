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
            let rows = 2 * y..(2 * y + 2).min(self.height());
            for x in 0..width {
                let columns = 2 * x..(2 * x + 2).min(self.width);
                let (mut sum, mut n) = ([0u32; 3], 0);
                for i in rows.clone().flat_map(|y| columns.clone().map(move |x| y * self.width + x)) {
                    if self.known[i] {
                        (0..3).for_each(|k| sum[k] += u32::from(self.pixels[i][k]));
                        n += 1;
                    }
                }
                if n > 0 {
                    pixels[x] = sum.map(|s| ((s + n / 2) / n) as u8);
                    known[x] = true;
                }
            }
        });
        Level { width, pixels, known }
    }

    /// Unknown pixels from the completely known coarser level, bilinear.
    fn fill_from(&mut self, coarser: &Level) {
        let (width, coarse_height) = (self.width, coarser.height());
        // The nearest coarse pixel counts 3/4, the next one 1/4, each way.
        let pair = |v: usize, n: usize| {
            let near = v / 2;
            let far = if v.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(n - 1) };
            [(near, 3u32), (far, 1u32)]
        };
        self.pixels.par_chunks_mut(width).zip(self.known.par_chunks(width)).enumerate().for_each(
            |(y, (pixels, known))| {
                let rows = pair(y, coarse_height);
                for x in (0..width).filter(|&x| !known[x]) {
                    let mut sum = [8u32; 3];
                    for (cx, wx) in pair(x, coarser.width) {
                        for (cy, wy) in rows {
                            let colour = coarser.pixels[cy * coarser.width + cx];
                            (0..3).for_each(|k| sum[k] += wx * wy * u32::from(colour[k]));
                        }
                    }
                    pixels[x] = sum.map(|s| (s / 16) as u8);
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
