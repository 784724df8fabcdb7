//! Points and frames as they are written in settings.
//!
//! A point is `x,y`, in shares of the picture's width and height from its top left corner, or
//! `x,ypx` in pixels; one after `-` is beside the object. Points are separated by spaces.
//! A frame is `left,top,right,bottom`, likewise.

use std::fmt;

use crate::{
    nets::sam::{Frame, Point},
    stage::{Param, ParamKind},
};

pub const POINTS: Param = Param {
    id: "points",
    doc: "Points on the object, and beside it after `-`, in shares of width and height or in pixels: `0.4,0.5 -0.1,0.2`, `412,300px`.",
    unit: "",
    kind: ParamKind::Text {
        default: "",
        form: "points like `0.4,0.5 -0.1,0.2` or `412,300px`",
        read: |text| Ok(spaced(&points(text)?)),
    },
};

pub const FRAME: Param = Param {
    id: "frame",
    doc: "Left, top, right and bottom edge around the object, in shares of width and height or in pixels.",
    unit: "",
    kind: ParamKind::Text {
        default: "",
        form: "a frame like `0.2,0.1,0.8,0.9` or `80,40,600,420px`",
        read: |text| Ok(frame(text)?.map_or_else(String::new, |frame| frame.to_string())),
    },
};

/// More than anybody clicks.
pub const MAX_POINTS: usize = 64;
/// Longer sides than any picture's.
const MAX_PIXELS: f32 = 65536.0;

/// A list of coordinates, as they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<const N: usize> {
    at: [f32; N],
    in_pixels: bool,
    is_object: bool,
}

impl<const N: usize> Place<N> {
    /// In pixels of a picture.
    fn pixels(&self, width: u32, height: u32) -> [f32; N] {
        let size = [width as f32, height as f32];
        std::array::from_fn(|i| if self.in_pixels { self.at[i] } else { self.at[i] * size[i % 2] })
    }
}

impl Place<2> {
    /// On a picture of this size.
    ///
    /// Errors: it lies outside.
    pub fn point(&self, width: u32, height: u32) -> Result<Point, String> {
        let [x, y] = self.pixels(width, height);
        if x > width as f32 || y > height as f32 {
            return Err(format!("point {self} is outside the picture of {width}x{height} pixels"));
        }
        Ok(Point { x, y, is_object: self.is_object })
    }
}

impl Place<4> {
    /// On a picture of this size, cut at its border.
    ///
    /// Errors: nothing of it is on the picture.
    pub fn frame(&self, width: u32, height: u32) -> Result<Frame, String> {
        let [left, top, right, bottom] = self.pixels(width, height);
        let (right, bottom) = (right.min(width as f32), bottom.min(height as f32));
        if left >= right || top >= bottom {
            return Err(format!("frame {self} is outside the picture of {width}x{height} pixels"));
        }
        Ok(Frame { left, top, right, bottom })
    }
}

impl<const N: usize> fmt::Display for Place<N> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let numbers = self.at.map(|v| v.to_string()).join(",");
        let (sign, unit) = (if self.is_object { "" } else { "-" }, if self.in_pixels { "px" } else { "" });
        write!(f, "{sign}{numbers}{unit}")
    }
}

/// Errors: which one is wrong, and why.
pub fn points(text: &str) -> Result<Vec<Place<2>>, String> {
    let points: Vec<Place<2>> = text.split_whitespace().map(place).collect::<Result<_, _>>()?;
    if points.len() > MAX_POINTS {
        return Err(format!("there are {} points, at most {MAX_POINTS} are taken", points.len()));
    }
    Ok(points)
}

/// Nothing when nothing is written.
///
/// Errors: what is wrong.
pub fn frame(text: &str) -> Result<Option<Place<4>>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let frame: Place<4> = place(text)?;
    let [left, top, right, bottom] = frame.at;
    match frame.is_object && left < right && top < bottom {
        true => Ok(Some(frame)),
        false => Err(format!("`{text}` does not have left before right and top before bottom")),
    }
}

fn place<const N: usize>(text: &str) -> Result<Place<N>, String> {
    let (is_object, rest) = text.strip_prefix('-').map_or((true, text), |rest| (false, rest));
    let (in_pixels, numbers) = rest.strip_suffix("px").map_or((false, rest), |numbers| (true, numbers));
    let largest = if in_pixels { MAX_PIXELS } else { 1.0 };
    let number = |part: &str| part.parse::<f32>().ok().filter(|v| (0.0..=largest).contains(v));
    let at: Option<Vec<f32>> = numbers.split(',').map(number).collect();
    let wrong = || match in_pixels {
        true => format!("`{text}` is not {N} numbers of pixels with commas between them"),
        false => format!("`{text}` is not {N} numbers from 0 to 1 with commas between them"),
    };
    let at = at.and_then(|at| at.try_into().ok()).ok_or_else(wrong)?;
    Ok(Place { at, in_pixels, is_object })
}

fn spaced(points: &[Place<2>]) -> String {
    points.iter().map(Place::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn points_and_frames_are_read_and_written_in_one_form() {
        for (text, canonical) in [("", ""), ("  0.40,0.5   -0.1,.2 ", "0.4,0.5 -0.1,0.2"), ("412,300px", "412,300px")] {
            assert_eq!(POINTS.check(&json!(text)), Ok(json!(canonical)), "{text}");
        }
        assert_eq!(FRAME.check(&json!("0.2,0.10,0.8,1")), Ok(json!("0.2,0.1,0.8,1")));
        assert_eq!(FRAME.check(&json!("")), Ok(json!("")));

        let points = points("0.5,0.25 -30,10px").unwrap();
        assert_eq!(points[0].point(200, 100), Ok(Point { x: 100.0, y: 25.0, is_object: true }));
        assert_eq!(points[1].point(200, 100), Ok(Point { x: 30.0, y: 10.0, is_object: false }));
        assert_eq!(points[1].point(20, 9), Err("point -30,10px is outside the picture of 20x9 pixels".to_owned()));
        let frame = frame("10,20,400,80px").unwrap().unwrap();
        assert_eq!(frame.frame(200, 100), Ok(Frame { left: 10.0, top: 20.0, right: 200.0, bottom: 80.0 }));
        assert!(frame.frame(10, 100).unwrap_err().contains("outside the picture of 10x100"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("0.4", "`0.4` is not 2 numbers from 0 to 1"),
            ("0.4,1.5", "`0.4,1.5` is not 2 numbers from 0 to 1"),
            ("0.4,0.5 nan,0", "`nan,0` is not"),
            ("12,-3px", "`12,-3px` is not 2 numbers of pixels"),
            ("--0.1,0.2", "`--0.1,0.2` is not"),
            (&"0.1,0.2 ".repeat(65), "there are 65 points, at most 64"),
        ] {
            let error = POINTS.check(&json!(text)).unwrap_err();
            assert!(error.starts_with("`points`: ") && error.contains(says), "{error}");
        }
        for (text, says) in [
            ("0.2,0.1,0.1,0.9", "left before right"),
            ("-0.2,0.1,0.8,0.9", "left before right"),
            ("0.2,0.1,0.8", "is not 4 numbers"),
        ] {
            let error = FRAME.check(&json!(text)).unwrap_err();
            assert!(error.starts_with("`frame`: ") && error.contains(says), "{error}");
        }
        assert!(POINTS.check(&json!(7)).unwrap_err().contains("points like `0.4,0.5 -0.1,0.2`"));
    }
}
