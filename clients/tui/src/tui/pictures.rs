//! Pictures on their way to cells: fetched, decoded, and prepared for the place
//! where they are shown.
//!
//! A picture is prepared once for a size, as coloured half blocks (or characters,
//! in ASCII) or in the terminal's own picture protocol; drawing is then a copy.

use std::{collections::HashMap, io::Cursor};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, Rgba, RgbaImage, imageops::FilterType};
use meshkiln_protocol::job::JobId;
use ratatui::{
    buffer::Buffer,
    layout::{Rect, Size},
    style::{Color, Style},
    widgets::Widget,
};
use ratatui_image::{
    Image, Resize,
    picker::{Picker, ProtocolType},
    protocol::Protocol,
};

use super::look::{Depth, Look};

/// Kept of one picture: more than any terminal shows of it.
const LONGEST_SIDE: u32 = 1200;
/// Of what is decoded; anything larger is not shown.
const LARGEST_BYTES: u64 = 512 << 20;
/// More opaque than any shadow that the daemon draws.
const MOSTLY_OPAQUE: u8 = 215;
/// Kept at once; the oldest go.
const MOST: usize = 24;

/// A picture as decoded.
pub type Picture = RgbaImage;

/// Which picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    Source(JobId),
    /// Made by a stage, counted from the first.
    Stage(JobId, usize),
    Preview(JobId),
    /// The mesh of an asset as it is turned now.
    Mesh(JobId),
}

/// What is known of a picture.
enum State {
    Asked,
    /// As of this version.
    Here {
        picture: Picture,
        version: u64,
    },
    Failed(String),
}

/// In the form in which it is drawn.
enum Prepared {
    Cells { size: Size, cells: Vec<(char, Style)> },
    Protocol(Box<Protocol>),
}

/// All pictures, and how this terminal shows them.
pub struct Pictures {
    look: Look,
    picker: Option<Picker>,
    known: HashMap<Which, State>,
    prepared: HashMap<(Which, Size), (u64, Prepared)>,
    ages: Vec<Which>,
    versions: u64,
}

impl Pictures {
    /// Without a picker: half blocks or ASCII.
    pub fn new(look: Look, picker: Option<Picker>) -> Pictures {
        let (known, prepared) = (HashMap::new(), HashMap::new());
        Pictures { look, picker, known, prepared, ages: Vec::new(), versions: 0 }
    }

    /// Pixels that fill so many cells.
    pub fn pixels(&self, cells: Size) -> (u32, u32) {
        let (w, h) = match &self.picker {
            Some(picker) => (picker.font_size().width, picker.font_size().height),
            // Twice as fine as what is shown, for smooth edges.
            None => (2, 4),
        };
        (u32::from(cells.width) * u32::from(w), u32::from(cells.height) * u32::from(h))
    }

    /// Notes that it is on its way; false when it was already, or is here.
    pub fn ask(&mut self, which: Which) -> bool {
        if self.known.contains_key(&which) {
            return false;
        }
        self.known.insert(which, State::Asked);
        self.touch(which);
        true
    }

    /// A picture that came, or why it did not.
    pub fn put(&mut self, which: Which, picture: Result<Picture, String>) {
        self.versions += 1;
        let state = match picture {
            Ok(picture) => State::Here { picture, version: self.versions },
            // What was seen last is better than a message, while it is turned.
            Err(_) if matches!(self.known.get(&which), Some(State::Here { .. })) => return,
            Err(reason) => State::Failed(reason),
        };
        self.known.insert(which, state);
        self.touch(which);
    }

    /// Those that could not be had are asked for again: another daemon may have them.
    pub fn try_again(&mut self) {
        let failed = self.known.iter().filter(|(_, state)| matches!(state, State::Failed(_)));
        for which in failed.map(|(which, _)| *which).collect::<Vec<_>>() {
            self.forget(which);
        }
    }

    /// As if it had never been asked for.
    pub fn forget(&mut self, which: Which) {
        self.known.remove(&which);
        self.prepared.retain(|(other, _), _| *other != which);
        self.ages.retain(|other| *other != which);
    }

    /// Prepares what was wanted in these sizes and is here. Whether there was anything to do.
    pub fn prepare(&mut self, wanted: &[(Which, Size)]) -> bool {
        let mut was_lacking = false;
        for &(which, size) in wanted {
            let Some(State::Here { picture, version }) = self.known.get(&which) else { continue };
            if size.width == 0 || size.height == 0 {
                continue;
            }
            if self.prepared.get(&(which, size)).is_some_and(|(of, _)| of == version) {
                continue;
            }
            let version = *version;
            let prepared = self.make(picture, size);
            self.prepared.retain(|(other, _), _| *other != which);
            self.prepared.insert((which, size), (version, prepared));
            was_lacking = true;
        }
        was_lacking
    }

    fn make(&self, picture: &Picture, size: Size) -> Prepared {
        if let Some(picker) = &self.picker {
            let mut picture = picture.clone();
            if picker.protocol_type() == ProtocolType::Sixel {
                harden(&mut picture);
            }
            let made =
                picker.new_protocol(DynamicImage::ImageRgba8(picture), size, Resize::Scale(Some(FilterType::Triangle)));
            if let Ok(protocol) = made {
                return Prepared::Protocol(Box::new(protocol));
            }
        }
        let (size, cells) = cells(picture, size, self.look);
        Prepared::Cells { size, cells }
    }

    /// Draws it in the middle of the area, or says why not.
    pub fn draw(&self, which: Which, area: Rect, buf: &mut Buffer, absent: &str) {
        let size = Size::new(area.width, area.height);
        match self.prepared.get(&(which, size)) {
            Some((_, Prepared::Protocol(protocol))) => {
                Image::new(protocol).render(middle(area, protocol.size()), buf);
            }
            Some((_, Prepared::Cells { size, cells })) => {
                let place = middle(area, *size);
                for (at, (c, style)) in cells.iter().enumerate() {
                    let (x, y) = (at as u16 % size.width, at as u16 / size.width);
                    if let Some(cell) = buf.cell_mut((place.x + x, place.y + y)) {
                        cell.set_char(*c).set_style(*style);
                    }
                }
            }
            None => {
                let text = match self.known.get(&which) {
                    None => absent,
                    Some(State::Asked) => "loading",
                    Some(State::Here { .. }) => "",
                    Some(State::Failed(reason)) => reason,
                };
                let lines = super::text::wrap(text, area.width.into());
                let top = area.y + area.height.saturating_sub(lines.len() as u16) / 2;
                for (y, line) in (top..area.bottom()).zip(lines) {
                    let x = area.x + (area.width.saturating_sub(super::text::width(&line) as u16)) / 2;
                    buf.set_stringn(x, y, line, area.width.into(), self.look.dim());
                }
            }
        }
    }

    fn touch(&mut self, which: Which) {
        self.ages.retain(|other| *other != which);
        self.ages.push(which);
        if self.ages.len() > MOST {
            let oldest = self.ages[0];
            self.forget(oldest);
        }
    }
}

fn middle(area: Rect, size: Size) -> Rect {
    let (width, height) = (size.width.min(area.width), size.height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// Upright, and no larger than is ever shown.
pub fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| format!("cannot be shown: {e}"))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| format!("cannot be shown: {e}"))?;
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| format!("cannot be shown: {e}"))?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    if picture.width().max(picture.height()) > LONGEST_SIDE {
        picture = picture.thumbnail(LONGEST_SIDE, LONGEST_SIDE);
    }
    Ok(picture.into_rgba8())
}

/// For sixels, which are there or not: of soft shadows nothing stays, for they would be black shapes.
fn harden(picture: &mut Picture) {
    for pixel in picture.pixels_mut() {
        pixel[3] = if pixel[3] >= MOSTLY_OPAQUE { 255 } else { 0 };
    }
}

/// A picture in cells, as large as fits: two pixels a cell, one above the other;
/// one character a cell without colour or in ASCII. Transparent stays the
/// terminal's background.
fn cells(picture: &Picture, size: Size, look: Look) -> (Size, Vec<(char, Style)>) {
    let (width, height) = (u32::from(size.width), u32::from(size.height) * 2);
    let scale = f64::min(
        f64::from(width) / f64::from(picture.width().max(1)),
        f64::from(height) / f64::from(picture.height().max(1)),
    );
    let fit = |n: u32, most: u32| ((f64::from(n) * scale).round() as u32).clamp(1, most.max(1));
    let (w, h) = (fit(picture.width(), width), fit(picture.height(), height).next_multiple_of(2).min(height));
    let small = shrink(picture, w, h);
    let plain = look.ascii || look.colour == Depth::None;
    let mut cells = Vec::with_capacity((w * h / 2) as usize);
    for y in (0..h).step_by(2) {
        for x in 0..w {
            let (top, bottom) = (*small.get_pixel(x, y), *small.get_pixel(x, y + 1));
            cells.push(if plain { character(top, bottom, look) } else { half_block(top, bottom, look) });
        }
    }
    (Size::new(w as u16, (h / 2) as u16), cells)
}

/// Each pixel the mean of what it covers, weighted by how opaque that is.
fn shrink(picture: &Picture, w: u32, h: u32) -> Picture {
    let mut soft = picture.clone();
    for pixel in soft.pixels_mut() {
        let a = u32::from(pixel[3]);
        for channel in 0..3 {
            pixel[channel] = (u32::from(pixel[channel]) * a / 255) as u8;
        }
    }
    let mut small = image::imageops::resize(&soft, w, h, FilterType::Triangle);
    for pixel in small.pixels_mut() {
        let a = u32::from(pixel[3]).max(1);
        for channel in 0..3 {
            pixel[channel] = (u32::from(pixel[channel]) * 255 / a).min(255) as u8;
        }
    }
    small
}

fn half_block(top: Rgba<u8>, bottom: Rgba<u8>, look: Look) -> (char, Style) {
    // Thin parts are kept; a soft shadow would be a black hole.
    let is_shadow = |pixel: Rgba<u8>| pixel[3] < 230 && pixel.0[..3].iter().all(|channel| *channel < 24);
    let is_there = |pixel: Rgba<u8>| pixel[3] >= 96 && !is_shadow(pixel);
    let style = Style::new();
    match (is_there(top), is_there(bottom)) {
        (false, false) => (' ', style),
        (true, false) => ('▀', style.fg(colour(top, look))),
        (false, true) => ('▄', style.fg(colour(bottom, look))),
        (true, true) => ('▀', style.fg(colour(top, look)).bg(colour(bottom, look))),
    }
}

/// The darker, the fuller on a light background; the other way round on a dark one.
fn character(top: Rgba<u8>, bottom: Rgba<u8>, look: Look) -> (char, Style) {
    const RAMP: &[u8] = b".:-=+*#%@";
    let alpha = (u32::from(top[3]) + u32::from(bottom[3])) / 2;
    if alpha < 64 {
        return (' ', Style::new());
    }
    let mean = |channel: usize| ((u32::from(top[channel]) + u32::from(bottom[channel])) / 2) as u8;
    let pixel = Rgba([mean(0), mean(1), mean(2), 255]);
    let luma = (u32::from(pixel[0]) * 54 + u32::from(pixel[1]) * 183 + u32::from(pixel[2]) * 19) / 256;
    let luma = if look.light { 255 - luma } else { luma };
    let c = char::from(RAMP[luma as usize * (RAMP.len() - 1) / 255]);
    let style = if look.colour == Depth::None { Style::new() } else { Style::new().fg(colour(pixel, look)) };
    (c, style)
}

fn colour(pixel: Rgba<u8>, look: Look) -> Color {
    let [r, g, b, _] = pixel.0;
    if look.colour == Depth::Full {
        return Color::Rgb(r, g, b);
    }
    // The cube of 6x6x6, or the finer greys where all are near each other.
    let spread = r.max(g).max(b) - r.min(g).min(b);
    if spread < 12 {
        let grey = (u16::from(r) + u16::from(g) + u16::from(b)) / 3;
        return match grey {
            0..4 => Color::Indexed(16),
            247.. => Color::Indexed(231),
            _ => Color::Indexed(232 + ((grey.saturating_sub(3)) / 10).min(23) as u8),
        };
    }
    let level = |c: u8| match c {
        0..48 => 0,
        48..115 => 1,
        _ => (c - 35) / 40,
    };
    Color::Indexed(16 + 36 * level(r) + 6 * level(g) + level(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { ascii: false, colour: Depth::Full, light: false };

    /// Red above, blue below, the right half transparent.
    fn flag() -> Picture {
        RgbaImage::from_fn(8, 8, |x, y| {
            let alpha = if x < 4 { 255 } else { 0 };
            if y < 4 { Rgba([255, 0, 0, alpha]) } else { Rgba([0, 0, 255, alpha]) }
        })
    }

    #[test]
    fn two_pixels_share_a_cell_and_transparent_stays_background() {
        let (size, cells) = cells(&flag(), Size::new(8, 4), LOOK);
        assert_eq!(size, Size::new(8, 4));
        assert_eq!(cells[0], ('▀', Style::new().fg(Color::Rgb(255, 0, 0)).bg(Color::Rgb(255, 0, 0))));
        assert_eq!(cells[24], ('▀', Style::new().fg(Color::Rgb(0, 0, 255)).bg(Color::Rgb(0, 0, 255))));
        assert_eq!(cells[7], (' ', Style::new()));
    }

    #[test]
    fn shadows_are_no_shapes_where_there_is_no_half_transparency() {
        let mut picture = RgbaImage::from_fn(3, 1, |x, _| Rgba([0, 0, 0, [199, 230, 255][x as usize]]));
        harden(&mut picture);
        assert_eq!(picture.pixels().map(|pixel| pixel[3]).collect::<Vec<_>>(), [0, 255, 255]);
    }

    #[test]
    fn thin_parts_are_drawn_and_shadows_are_not() {
        let half = |r, a| half_block(Rgba([r, 0, 0, a]), Rgba([0, 0, 0, 0]), LOOK).0;
        assert_eq!([half(90, 100), half(90, 50), half(0, 200), half(0, 255)], ['▀', ' ', ' ', '▀']);
    }

    #[test]
    fn proportions_are_kept_in_any_place() {
        let wide = RgbaImage::from_pixel(400, 100, Rgba([9, 9, 9, 255]));
        for (place, expected) in [((40, 20), (40, 5)), ((4, 20), (4, 1)), ((200, 5), (40, 5)), ((1, 1), (1, 1))] {
            let (size, cells) = cells(&wide, Size::new(place.0, place.1), LOOK);
            assert_eq!(size, Size::new(expected.0, expected.1), "in {place:?}");
            assert_eq!(cells.len(), usize::from(size.width * size.height));
        }
    }

    #[test]
    fn in_ascii_and_without_colour_characters_stand_for_light() {
        let look = Look { ascii: true, colour: Depth::None, light: false };
        let grey = |n: u8| cells(&RgbaImage::from_pixel(2, 2, Rgba([n, n, n, 255])), Size::new(1, 1), look).1[0];
        assert_eq!([grey(0), grey(255)].map(|cell| cell.0), ['.', '@']);
        assert_eq!(grey(128).1, Style::new());
    }

    #[test]
    fn colours_are_near_in_a_palette_of_256() {
        let look = Look { colour: Depth::Indexed, ..LOOK };
        let of = |r, g, b| colour(Rgba([r, g, b, 255]), look);
        assert_eq!(of(255, 0, 0), Color::Indexed(196));
        assert_eq!(of(0, 0, 0), Color::Indexed(16));
        assert_eq!(of(255, 255, 255), Color::Indexed(231));
        assert_eq!(of(128, 128, 128), Color::Indexed(244));
    }

    #[test]
    fn what_is_no_picture_says_so_and_the_oldest_pictures_go() {
        assert!(decode(b"nothing").unwrap_err().starts_with("cannot be shown"));
        let mut pictures = Pictures::new(LOOK, None);
        for id in 0..MOST as u64 + 3 {
            assert!(pictures.ask(Which::Source(JobId(id))));
        }
        assert_eq!(pictures.known.len(), MOST);
        assert!(pictures.ask(Which::Source(JobId(0))), "the oldest was kept");
        pictures.put(Which::Source(JobId(0)), Err("no daemon".to_owned()));
        assert!(!pictures.ask(Which::Source(JobId(0))), "asked for again and again");
        pictures.try_again();
        assert!(pictures.ask(Which::Source(JobId(0))));
    }
}
