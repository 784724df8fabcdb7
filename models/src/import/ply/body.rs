//! A PLY's values, element by element. Counts are claims: reading ends where the
//! file does, and memory holds one element at a time.

use super::{
    super::{
        damaged,
        text::{number, text},
        truncated,
    },
    header::{Element, Encoding, Header, Scalar},
};
use crate::error::StageError;

/// Value of a property; f64 holds every type of PLY exactly.
pub enum Value {
    Scalar(f64),
    List(Vec<f64>),
}

impl Value {
    /// NaN for a list.
    pub fn scalar(&self) -> f64 {
        match self {
            Value::Scalar(value) => *value,
            Value::List(_) => f64::NAN,
        }
    }

    /// Empty for a scalar.
    pub fn list(&self) -> &[f64] {
        match self {
            Value::Scalar(_) => &[],
            Value::List(values) => values,
        }
    }
}

pub struct Body<'a> {
    rest: &'a [u8],
    encoding: Encoding,
}

/// Why a number could not be had.
enum Trouble<'a> {
    End,
    Word(&'a [u8]),
}

impl<'a> Body<'a> {
    pub fn new(bytes: &'a [u8], header: &Header) -> Body<'a> {
        Body { rest: &bytes[header.length..], encoding: header.encoding }
    }

    /// Calls `take` with the values of each element, in the order of its properties.
    pub fn each(
        &mut self,
        element: &Element,
        mut take: impl FnMut(&[Value]) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let new = |property: &super::header::Property| match property.count {
            Some(_) => Value::List(Vec::new()),
            None => Value::Scalar(0.0),
        };
        let mut values: Vec<Value> = element.properties.iter().map(new).collect();
        if values.is_empty() {
            // Nothing is written for these, however many there are said to be.
            return Ok(());
        }
        for i in 0..element.count {
            let name = &element.name;
            self.element(element, &mut values).map_err(|trouble| match trouble {
                Trouble::End => truncated(format!("the PLY ends in element {i} of {} `{name}`", element.count)),
                Trouble::Word(word) => {
                    damaged(format!("the PLY has `{}` for a number in element {i} of `{name}`", text(word)))
                }
            })?;
            take(&values)?;
        }
        Ok(())
    }

    fn element(&mut self, element: &Element, values: &mut [Value]) -> Result<(), Trouble<'a>> {
        for (property, value) in element.properties.iter().zip(values) {
            match (value, property.count) {
                (Value::List(list), Some(count)) => {
                    let n = self.number(count)?;
                    if !(n >= 0.0 && n.fract() == 0.0) {
                        return Err(Trouble::Word(b"a length below 0 or in fractions"));
                    }
                    list.clear();
                    for _ in 0..n as u64 {
                        list.push(self.number(property.kind)?);
                    }
                }
                (value, _) => *value = Value::Scalar(self.number(property.kind)?),
            }
        }
        Ok(())
    }

    fn number(&mut self, kind: Scalar) -> Result<f64, Trouble<'a>> {
        if self.encoding == Encoding::Ascii {
            let word = self.word().ok_or(Trouble::End)?;
            return number(word).ok_or(Trouble::Word(word));
        }
        Ok(match kind {
            Scalar::I8 => f64::from(i8::from_le_bytes(self.bytes()?)),
            Scalar::U8 => f64::from(u8::from_le_bytes(self.bytes()?)),
            Scalar::I16 => f64::from(i16::from_le_bytes(self.bytes()?)),
            Scalar::U16 => f64::from(u16::from_le_bytes(self.bytes()?)),
            Scalar::I32 => f64::from(i32::from_le_bytes(self.bytes()?)),
            Scalar::U32 => f64::from(u32::from_le_bytes(self.bytes()?)),
            Scalar::F32 => f64::from(f32::from_le_bytes(self.bytes()?)),
            Scalar::F64 => f64::from_le_bytes(self.bytes()?),
        })
    }

    /// The next `N` bytes, lowest first.
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Trouble<'a>> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Trouble::End)?;
        self.rest = rest;
        let mut bytes = *bytes;
        if self.encoding == Encoding::BigEndian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|c| !c.is_ascii_whitespace())?;
        let rest = &self.rest[start..];
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.rest = &rest[end..];
        Some(&rest[..end])
    }
}
