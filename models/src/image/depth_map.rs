//! How far what a picture shows is away: a value for each pixel, 16 bits deep.
//!
//! In the store it is a PNG of 16 bits grey that any program shows, white what is largest: nearest
//! in relative depths, farthest in metres. Texts in the PNG say what the values mean. 16 bits are
//! more than any network tells apart, and all that height maps have.

use std::io::Cursor;

use ::image::RgbaImage;

use super::plane::Plane;
use crate::error::StageError;

/// What the values of a depth say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Larger is nearer; neither scale nor shift mean anything.
    Relative,
    /// Distance along the view axis.
    Metres,
}

impl Unit {
    const ALL: [Unit; 2] = [Unit::Relative, Unit::Metres];

    pub fn id(self) -> &'static str {
        match self {
            Unit::Relative => "relative",
            Unit::Metres => "metres",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DepthMap {
    /// 0 stands for `low`, 65535 for `high`, evenly in between.
    pub levels: Plane<u16>,
    pub low: f32,
    pub high: f32,
    pub unit: Unit,
    /// Horizontal field of view that the depths assume of the camera, in degrees; `None` where
    /// nothing is assumed.
    pub view: Option<f32>,
}

/// Nearest that a distance counts, in metres.
const NEAREST: f32 = 1e-3;

impl DepthMap {
    /// `values` at 65536 levels between the least and the largest of them.
    ///
    /// Errors: values that are not finite.
    pub fn of(values: &Plane<f32>, unit: Unit, view: Option<f32>) -> Result<DepthMap, StageError> {
        let bounds = |(low, high): (f32, f32), v: &f32| (low.min(*v), high.max(*v));
        let (low, high) = values.data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), bounds);
        if !values.data.iter().all(|v| v.is_finite()) || low > high {
            return Err(StageError::internal(format!("depths between {low} and {high} are not finite")));
        }
        let scale = if high > low { 65535.0 / (f64::from(high) - f64::from(low)) } else { 0.0 };
        let levels = values.map(|v| ((f64::from(v) - f64::from(low)) * scale).round() as u16);
        Ok(DepthMap { levels, low, high, unit, view })
    }

    /// Heights of a height map: as they are, whatever its range.
    pub fn of_heights(levels: Plane<u16>) -> DepthMap {
        DepthMap { levels, low: 0.0, high: 1.0, unit: Unit::Relative, view: None }
    }

    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.value(self.levels.at(x, y))
    }

    fn value(&self, level: u16) -> f32 {
        let share = f64::from(level) / 65535.0;
        (f64::from(self.low) + (f64::from(self.high) - f64::from(self.low)) * share) as f32
    }

    /// How near each pixel is: larger is nearer, on the scale of one over the distance, which is
    /// what relative depths have anyway.
    pub fn nearness(&self) -> Plane<f32> {
        match self.unit {
            Unit::Relative => self.levels.map(|level| f32::from(level) / 65535.0),
            Unit::Metres => self.levels.map(|level| 1.0 / self.value(level).max(NEAREST)),
        }
    }

    /// How far apart the steps of `nearness` are where it has no more than 256: what 8 bits leave.
    pub fn coarse_step(&self) -> Option<f32> {
        let is_coarse = self.unit == Unit::Relative && self.levels.data.iter().all(|level| level % 257 == 0);
        is_coarse.then_some(1.0 / 255.0)
    }

    /// Size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.levels.data.len() * 2
    }

    /// The levels as a grey picture.
    pub fn picture(&self) -> RgbaImage {
        RgbaImage::from_fn(self.levels.width as u32, self.levels.height as u32, |x, y| {
            let grey = (self.levels.at(x as usize, y as usize) / 257) as u8;
            ::image::Rgba([grey, grey, grey, 255])
        })
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let failed = |e: png::EncodingError| StageError::internal(format!("cannot encode PNG: {e}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.levels.width as u32, self.levels.height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Sixteen);
        encoder.set_compression(png::Compression::Fast);
        let texts = [
            (UNIT, Some(self.unit.id().to_owned())),
            (LOW, Some(self.low.to_string())),
            (HIGH, Some(self.high.to_string())),
            (VIEW, self.view.map(|view| view.to_string())),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                encoder.add_text_chunk(key.to_owned(), text).map_err(failed)?;
            }
        }
        let mut writer = encoder.write_header().map_err(failed)?;
        let data: Vec<u8> = self.levels.data.iter().flat_map(|level| level.to_be_bytes()).collect();
        writer.write_image_data(&data).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }

    /// Of what `to_bytes` wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<DepthMap, StageError> {
        let failed = |e: png::DecodingError| StageError::internal(format!("cannot decode depth blob: {e}"));
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(failed)?;
        let info = reader.info();
        let (width, height) = (info.width as usize, info.height as usize);
        if (info.color_type, info.bit_depth) != (png::ColorType::Grayscale, png::BitDepth::Sixteen) {
            return Err(StageError::internal("depth blob is not 16 bits grey"));
        }
        let text = |key: &str| {
            let texts = &info.uncompressed_latin1_text;
            texts.iter().find(|text| text.keyword == key).map(|text| text.text.clone())
        };
        let number = |key: &str| text(key).and_then(|text| text.parse::<f32>().ok());
        let missing = |key: &str| StageError::internal(format!("depth blob does not say its {key}"));
        let unit = text(UNIT).and_then(|id| Unit::ALL.into_iter().find(|unit| unit.id() == id));
        let (unit, view) = (unit.ok_or_else(|| missing(UNIT))?, number(VIEW));
        let (low, high) = (number(LOW).ok_or_else(|| missing(LOW))?, number(HIGH).ok_or_else(|| missing(HIGH))?);
        let mut data = vec![0; reader.output_buffer_size().unwrap_or(0)];
        reader.next_frame(&mut data).map_err(failed)?;
        let levels: Vec<u16> = data.as_chunks::<2>().0.iter().map(|b| u16::from_be_bytes(*b)).collect();
        if levels.len() != width * height {
            return Err(StageError::internal(format!("depth blob has {} values for {width}x{height}", levels.len())));
        }
        Ok(DepthMap { levels: Plane { width, height, data: levels }, low, high, unit, view })
    }
}

/// Texts in the PNG.
const UNIT: &str = "depth-unit";
const LOW: &str = "depth-low";
const HIGH: &str = "depth-high";
const VIEW: &str = "depth-view-degrees";

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Plane<f32> {
        Plane::from_fn(7, 5, |x, y| 1.25 + x as f32 * 0.37 + y as f32 * 0.011)
    }

    #[test]
    fn what_is_stored_comes_back_to_the_bit() {
        for (unit, view) in [(Unit::Metres, Some(55.0)), (Unit::Relative, None)] {
            let map = DepthMap::of(&ramp(), unit, view).unwrap();
            let bytes = map.to_bytes().unwrap();
            assert_eq!(DepthMap::from_bytes(&bytes).unwrap(), map);
            assert_eq!(bytes, map.to_bytes().unwrap());
            // And any program shows it.
            let shown = ::image::load_from_memory(&bytes).unwrap().to_luma16();
            assert_eq!(shown.as_raw(), &map.levels.data);
            assert_eq!((map.picture().get_pixel(0, 0).0[0], map.picture().get_pixel(6, 4).0[0]), (0, 255));
        }
        assert!(DepthMap::from_bytes(b"nothing").is_err());
        assert!(DepthMap::of(&ramp().map(|_| f32::NAN), Unit::Metres, None).is_err());
    }

    #[test]
    fn levels_are_finer_than_a_hundred_thousandth_of_the_range() {
        let (values, map) = (ramp(), DepthMap::of(&ramp(), Unit::Metres, None).unwrap());
        let range = map.high - map.low;
        assert!((0..35).all(|i| (map.at(i % 7, i / 7) - values.at(i % 7, i / 7)).abs() < 1e-5 * range));
        let flat = DepthMap::of(&values.map(|_| 3.0), Unit::Metres, None).unwrap();
        assert!(flat.at(3, 3) == 3.0 && flat.nearness().at(1, 1) == 1.0 / 3.0);
    }

    #[test]
    fn near_is_large_whatever_the_unit_and_eight_bits_are_told() {
        let metres = DepthMap::of(&ramp(), Unit::Metres, None).unwrap().nearness();
        let relative = DepthMap::of(&ramp(), Unit::Relative, None).unwrap().nearness();
        assert!(metres.at(0, 0) > metres.at(6, 4) && relative.at(0, 0) < relative.at(6, 4));
        let of = |scale: u16| DepthMap::of_heights(Plane::from_fn(4, 4, |x, y| (x + y) as u16 * scale));
        assert_eq!([of(257).coarse_step(), of(256).coarse_step()], [Some(1.0 / 255.0), None]);
    }
}
