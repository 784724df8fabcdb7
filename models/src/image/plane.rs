//! A rectangle of values, row by row from the top left, and reductions of
//! pictures into such rectangles.

use ::image::RgbaImage;
use rayon::prelude::*;

/// Red, green, blue; sRGB-encoded, 0 to 1.
pub type Rgb = [f32; 3];

#[derive(Debug, Clone, PartialEq)]
pub struct Plane<T> {
    pub width: usize,
    pub height: usize,
    /// `width * height` values.
    pub data: Vec<T>,
}

impl<T: Copy> Plane<T> {
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    pub fn from_fn(width: usize, height: usize, f: impl Fn(usize, usize) -> T) -> Self {
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            data.extend((0..width).map(|x| f(x, y)));
        }
        Self { width, height, data }
    }

    /// As `from_fn`, rows in parallel.
    pub fn from_fn_parallel(width: usize, height: usize, f: impl Fn(usize, usize) -> T + Sync) -> Self
    where
        T: Send + Default,
    {
        let mut data = vec![T::default(); width * height];
        data.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            row.iter_mut().enumerate().for_each(|(x, value)| *value = f(x, y));
        });
        Self { width, height, data }
    }

    pub fn map<U: Send>(&self, f: impl Fn(T) -> U + Sync) -> Plane<U>
    where
        T: Sync,
    {
        Plane { width: self.width, height: self.height, data: self.data.par_iter().map(|v| f(*v)).collect() }
    }

    pub fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }

    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// The same picture in `width` x `height` pixels, each the value under its centre.
    pub fn nearest(&self, width: usize, height: usize) -> Plane<T> {
        let columns: Vec<usize> = (0..width).map(|x| centre_index(x, width, self.width)).collect();
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            let row = self.row(centre_index(y, height, self.height));
            data.extend(columns.iter().map(|x| row[*x]));
        }
        Plane { width, height, data }
    }
}

fn centre_index(position: usize, size: usize, source_size: usize) -> usize {
    ((2 * position + 1) * source_size / (2 * size)).min(source_size - 1)
}

/// `plane` at `width` x `height` values, neither larger than before: means over what each covers.
pub fn averaged(plane: &Plane<f32>, width: usize, height: usize) -> Plane<f32> {
    let across = |row: &[f32], x: usize, to: usize| {
        let (start, end) = (x as f64 * row.len() as f64 / to as f64, (x + 1) as f64 * row.len() as f64 / to as f64);
        let covered = |i: usize| (end.min(i as f64 + 1.0) - start.max(i as f64)).max(0.0);
        let last = (end.ceil() as usize).min(row.len());
        let sum: f64 = (start as usize..last).map(|i| f64::from(row[i]) * covered(i)).sum();
        (sum / (end - start)) as f32
    };
    let narrow = Plane::from_fn_parallel(width, plane.height, |x, y| across(plane.row(y), x, width));
    let columns: Vec<Vec<f32>> = (0..width).map(|x| (0..plane.height).map(|y| narrow.at(x, y)).collect()).collect();
    Plane::from_fn_parallel(width, height, |x, y| across(&columns[x], y, height))
}

/// Width and height of a picture whose longer side is scaled down to `side`;
/// smaller pictures keep their size. Neither gets smaller than 1.
pub fn fit(width: usize, height: usize, side: usize) -> (usize, usize) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    let scale = |v: usize| ((v * side + longer / 2) / longer).max(1);
    (scale(width), scale(height))
}

/// Colours of `image` in `width` x `height` pixels (no larger than the image):
/// averages over the area under each pixel, sRGB-encoded, 0 to 1. Alpha is not
/// looked at.
pub fn shrink_rgb(image: &RgbaImage, width: usize, height: usize) -> Plane<Rgb> {
    let (source_width, source_height) = (image.width() as usize, image.height() as usize);
    let source = image.as_raw();
    if (source_width, source_height) == (width, height) {
        let scaled = |p: &[u8]| [p[0], p[1], p[2]].map(|v| f32::from(v) / 255.0);
        return Plane { width, height, data: source.par_chunks_exact(4).map(scaled).collect() };
    }
    let columns = spans(source_width, width);
    let rows = spans(source_height, height);
    let mut data = vec![[0.0f32; 3]; width * height];
    data.par_chunks_mut(width).zip(rows).for_each_init(
        || vec![[0.0f32; 3]; source_width],
        |sums, (out, (top, row_weights))| {
            sums.fill([0.0; 3]);
            for (k, weight) in row_weights.iter().enumerate() {
                let line = &source[(top + k) * source_width * 4..(top + k + 1) * source_width * 4];
                for (sum, pixel) in sums.iter_mut().zip(line.chunks_exact(4)) {
                    for c in 0..3 {
                        sum[c] += f32::from(pixel[c]) * weight;
                    }
                }
            }
            for (out, (left, weights)) in out.iter_mut().zip(&columns) {
                for (sum, weight) in sums[*left..].iter().zip(weights) {
                    for c in 0..3 {
                        out[c] += sum[c] * weight / 255.0;
                    }
                }
            }
        },
    );
    Plane { width, height, data }
}

/// Combines each pixel with those up to `radius` columns and rows away.
pub fn windowed(plane: &Plane<u8>, radius: usize, combine: impl Fn(u8, u8) -> u8 + Sync) -> Plane<u8> {
    let (width, height) = (plane.width, plane.height);
    let mut across = vec![0u8; width * height];
    across.par_chunks_exact_mut(width).zip(plane.data.par_chunks_exact(width)).for_each(|(out, row)| {
        out.copy_from_slice(row);
        for k in 1..=radius.min(width - 1) {
            out[k..].iter_mut().zip(&row[..width - k]).for_each(|(o, v)| *o = combine(*o, *v));
            out[..width - k].iter_mut().zip(&row[k..]).for_each(|(o, v)| *o = combine(*o, *v));
        }
    });
    let mut data = vec![0u8; width * height];
    data.par_chunks_exact_mut(width).enumerate().for_each(|(y, out)| {
        let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
        out.copy_from_slice(&across[y * width..(y + 1) * width]);
        for row in rows {
            out.iter_mut().zip(&across[row * width..(row + 1) * width]).for_each(|(o, v)| *o = combine(*o, *v));
        }
    });
    Plane { width, height, data }
}

/// Averages over the area under each of `width` x `height` pixels, no more than
/// the plane has.
pub fn shrink(plane: &Plane<[f32; 3]>, width: usize, height: usize) -> Plane<[f32; 3]> {
    if (plane.width, plane.height) == (width, height) {
        return plane.clone();
    }
    let columns = spans(plane.width, width);
    let rows = spans(plane.height, height);
    let mut data = vec![[0.0f32; 3]; width * height];
    data.par_chunks_mut(width).zip(rows).for_each(|(out, (top, row_weights))| {
        for (k, row_weight) in row_weights.iter().enumerate() {
            let row = plane.row(top + k);
            for (out, (left, weights)) in out.iter_mut().zip(&columns) {
                for (value, weight) in row[*left..].iter().zip(weights) {
                    for c in 0..3 {
                        out[c] += value[c] * weight * row_weight;
                    }
                }
            }
        }
    });
    Plane { width, height, data }
}

/// For each of `size` output positions: the first source index under it and the
/// share each source index from there on has in it (they sum to 1).
fn spans(source_size: usize, size: usize) -> Vec<(usize, Vec<f32>)> {
    debug_assert!(size <= source_size);
    let ratio = source_size as f64 / size as f64;
    (0..size)
        .map(|i| {
            let (start, end) = (i as f64 * ratio, (i + 1) as f64 * ratio);
            let first = (start + 1e-9) as usize;
            let last = ((end - 1e-9) as usize).clamp(first, source_size - 1);
            let weights = (first..=last)
                .map(|k| ((end.min((k + 1) as f64) - start.max(k as f64)) / ratio).max(0.0) as f32)
                .collect();
            (first, weights)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_averages_areas() {
        let image = RgbaImage::from_fn(6, 3, |x, y| ::image::Rgba([(x * 10) as u8, (y * 30) as u8, 255, 9]));
        let small = shrink_rgb(&image, 4, 2);
        // Column 0 covers source 0..1.5: (0 + 10 / 2) / 1.5; row 0 likewise.
        let expected = [5.0 / 1.5 / 255.0, 15.0 / 1.5 / 255.0, 1.0];
        for c in 0..3 {
            assert!((small.at(0, 0)[c] - expected[c]).abs() < 1e-5, "{:?} {expected:?}", small.at(0, 0));
        }
        let same = shrink(&shrink_rgb(&image, 6, 3), 4, 2);
        for (a, b) in same.data.iter().zip(&small.data) {
            assert!((0..3).all(|c| (a[c] - b[c]).abs() < 1e-5));
        }
    }

    #[test]
    fn fitting_keeps_proportions_and_never_grows() {
        assert_eq!(fit(1000, 500, 100), (100, 50));
        assert_eq!(fit(30, 20, 100), (30, 20));
        assert_eq!(fit(10_000, 3, 100), (100, 1));
    }

    #[test]
    fn nearest_takes_the_value_under_the_centre() {
        let plane = Plane::from_fn(2, 1, |x, _| x);
        assert_eq!(plane.nearest(4, 1).data, [0, 0, 1, 1]);
        assert_eq!(plane.nearest(1, 1).data, [1]);
    }
}
