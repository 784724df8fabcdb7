//! Making pictures smaller by averaging areas, weighted by alpha.

use ::image::RgbaImage;

/// `image` with its longer side at most `max_side`; as it was when small enough.
///
/// Each target pixel is the mean over the area it covers, fractional borders
/// included; colours are weighted by alpha, so that what is invisible does not
/// bleed into what is not.
pub fn fit_within(image: RgbaImage, max_side: u32) -> RgbaImage {
    let (w, h) = image.dimensions();
    let longer = w.max(h);
    if longer <= max_side {
        return image;
    }
    let scaled = |side: u32| ((side as u64 * max_side as u64 + longer as u64 / 2) / longer as u64).max(1) as u32;
    average(&image, scaled(w), scaled(h))
}

fn average(image: &RgbaImage, to_w: u32, to_h: u32) -> RgbaImage {
    let (w, h) = image.dimensions();
    let columns: Vec<Span> = (0..to_w).map(|x| Span::new(x, to_w, w)).collect();
    let mut out = RgbaImage::new(to_w, to_h);
    for (y, row) in out.rows_mut().enumerate() {
        let lines = Span::new(y as u32, to_h, h);
        for (pixel, column) in row.zip(&columns) {
            let mut color = [0f32; 3];
            let (mut alpha, mut area) = (0f32, 0f32);
            for (line, line_weight) in lines.weights() {
                for (x, column_weight) in column.weights() {
                    let [r, g, b, a] = image.get_pixel(x, line).0.map(f32::from);
                    let weight = line_weight * column_weight;
                    area += weight;
                    alpha += a * weight;
                    for (sum, channel) in color.iter_mut().zip([r, g, b]) {
                        *sum += channel * a * weight;
                    }
                }
            }
            let [r, g, b] = color.map(|sum| if alpha > 0.0 { (sum / alpha).round() as u8 } else { 0 });
            pixel.0 = [r, g, b, (alpha / area).round() as u8];
        }
    }
    out
}

/// Source pixels that one target pixel covers along an axis.
struct Span {
    first: u32,
    last: u32,
    start: f64,
    end: f64,
}

impl Span {
    fn new(i: u32, to: u32, from: u32) -> Span {
        let start = i as f64 * from as f64 / to as f64;
        let end = (i + 1) as f64 * from as f64 / to as f64;
        Span { first: start as u32, last: (end.ceil() as u32).min(from) - 1, start, end }
    }

    fn weights(&self) -> impl Iterator<Item = (u32, f32)> {
        (self.first..=self.last).map(|i| {
            let overlap = self.end.min((i + 1) as f64) - self.start.max(i as f64);
            (i, overlap as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use ::image::Rgba;

    use super::*;

    #[test]
    fn means_are_kept_and_invisible_colours_do_not_bleed() {
        let image =
            RgbaImage::from_fn(300, 200, |x, _| if x < 150 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) });
        let small = fit_within(image, 100);
        assert_eq!(small.dimensions(), (100, 67));
        for pixel in small.pixels().filter(|p| p.0[3] > 0) {
            assert_eq!(pixel.0[..3], [255, 0, 0]);
        }
        let mean = small.pixels().map(|p| p.0[3] as f64).sum::<f64>() / 6700.0;
        assert!((mean - 127.5).abs() < 0.5, "{mean}");
    }

    #[test]
    fn small_pictures_and_thin_strips_survive() {
        assert_eq!(fit_within(RgbaImage::new(10, 3), 10).dimensions(), (10, 3));
        assert_eq!(fit_within(RgbaImage::new(5000, 1), 100).dimensions(), (100, 1));
    }
}
