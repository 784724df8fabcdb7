//! Where the sides of a relief lie on its texture: the front as the picture, as large as it gets;
//! below it the walls as strips, and a small back, which has one colour.

use glam::Vec2;

/// Free space between charts and around them, relative to the texture's side.
const PADDING: f32 = 8.0 / 1024.0;
/// Least height of a strip of wall.
const STRIP: f32 = 6.0 / 1024.0;
/// Most of it.
const WIDE_STRIP: f32 = 0.03;
/// Rows of strips; strips get shorter until they fit.
const ROWS: usize = 4;
/// Most of the band below the front that the back's width takes.
const BACK: f32 = 0.4;

pub struct Layout {
    front: Chart,
    back: Chart,
    pub strips: Vec<Strip>,
}

/// Metres to places on the texture.
struct Chart {
    origin: Vec2,
    scale: Vec2,
}

/// A wall of one piece of border.
pub struct Strip {
    origin: Vec2,
    /// Along it, of a metre.
    scale: f32,
    /// Of its whole height.
    height: f32,
}

impl Layout {
    /// For a front of `size` and walls up to `thickest`, all in metres; `lengths` of the strips.
    pub fn new(size: Vec2, thickest: f32, lengths: &[f32], is_closed: bool) -> Layout {
        let whole = 1.0 - 2.0 * PADDING;
        if !is_closed {
            let scale = whole / size.max_element();
            let back = Chart { origin: Vec2::ZERO, scale: Vec2::ZERO };
            return Layout {
                front: Chart { origin: Vec2::splat(PADDING), scale: Vec2::splat(scale) },
                back,
                strips: Vec::new(),
            };
        }
        let widest = whole / size.max_element();
        let height = (thickest * widest).clamp(STRIP, WIDE_STRIP);
        let band = ROWS as f32 * height + (ROWS - 1) as f32 * PADDING;
        let front = (whole / size.x).min((whole - band - PADDING) / size.y);
        let top = 1.0 - PADDING - band;
        let back = (band / size.y).min(BACK * whole / size.x);
        let left = 2.0 * PADDING + back * size.x;

        let mut scale = front;
        let places = loop {
            match shelves(lengths, scale, left) {
                Some(places) => break places,
                None => scale *= 0.95,
            }
        };
        let strip = |(row, x): &(usize, f32)| Strip {
            origin: Vec2::new(*x, top + *row as f32 * (height + PADDING)),
            scale,
            height,
        };
        Layout {
            front: Chart { origin: Vec2::splat(PADDING), scale: Vec2::splat(front) },
            // Seen from behind, the right is on the left.
            back: Chart { origin: Vec2::new(PADDING + back * size.x, top), scale: Vec2::new(-back, back) },
            strips: places.iter().map(strip).collect(),
        }
    }

    /// Of a place in metres from the front's upper left corner.
    pub fn front(&self, place: Vec2) -> Vec2 {
        self.front.at(place)
    }

    pub fn back(&self, place: Vec2) -> Vec2 {
        self.back.at(place)
    }
}

impl Chart {
    fn at(&self, place: Vec2) -> Vec2 {
        self.origin + place * self.scale
    }
}

impl Strip {
    /// `along` in metres, `down` from 0 at the upper edge to 1.
    pub fn at(&self, along: f32, down: f32) -> Vec2 {
        self.origin + Vec2::new(along * self.scale, down * self.height)
    }
}

/// Row and left end of each strip, in `ROWS` rows from `left` on; `None` where they do not fit.
fn shelves(lengths: &[f32], scale: f32, left: f32) -> Option<Vec<(usize, f32)>> {
    let right = 1.0 - PADDING;
    let mut ends = [left; ROWS];
    // Padding gives way where there are thousands of strips.
    let gap = PADDING.min(0.25 * (right - left) * ROWS as f32 / lengths.len().max(1) as f32);
    lengths
        .iter()
        .map(|length| {
            let width = length * scale;
            let row = ends.iter().position(|end| end + width <= right)?;
            let x = ends[row];
            ends[row] += width + gap;
            Some((row, x))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_stay_apart_whatever_the_shape() {
        for (size, lengths) in [
            (Vec2::new(1.0, 1.0), vec![1.0; 4]),
            (Vec2::new(3.0, 0.5), vec![3.0, 0.5, 3.0, 0.5]),
            (Vec2::new(0.2, 2.0), vec![0.2, 2.0, 0.2, 2.0]),
            (Vec2::new(1.0, 1.0), vec![0.01; 3000]),
        ] {
            let layout = Layout::new(size, 0.1, &lengths, true);
            let mut boxes = vec![
                [layout.front(Vec2::ZERO), layout.front(size)],
                [layout.back(Vec2::new(size.x, 0.0)), layout.back(Vec2::new(0.0, size.y))],
            ];
            boxes.extend(layout.strips.iter().zip(&lengths).map(|(s, length)| [s.at(0.0, 0.0), s.at(*length, 1.0)]));
            for (i, [low, high]) in boxes.iter().enumerate() {
                assert!(low.min_element() >= 0.0 && high.max_element() <= 1.0, "{i} {low} {high}");
                assert!(low.cmplt(*high).all(), "{i} {low} {high}");
                for [other_low, other_high] in &boxes[..i] {
                    let apart = high.cmple(*other_low).any() || other_high.cmple(*low).any();
                    assert!(apart, "{size} {i}: {low} {high} and {other_low} {other_high}");
                }
            }
            let [low, high] = boxes[0];
            assert!((high - low).max_element() > 0.5, "the front is small: {low} {high}");
        }
        let open = Layout::new(Vec2::new(2.0, 1.0), 0.1, &[], false);
        assert!(open.front(Vec2::new(2.0, 1.0)).x > 0.99);
    }
}
