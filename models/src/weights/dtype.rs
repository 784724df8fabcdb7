//! Element types that a weights file can hold.

/// Little-endian in files and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F8E4M3,
    F8E5M2,
    F16,
    BF16,
    F32,
    F64,
}

/// Every type, with its name in safetensors headers and its size in bytes.
const TYPES: [(DType, &str, usize); 15] = [
    (DType::Bool, "BOOL", 1),
    (DType::U8, "U8", 1),
    (DType::I8, "I8", 1),
    (DType::U16, "U16", 2),
    (DType::I16, "I16", 2),
    (DType::U32, "U32", 4),
    (DType::I32, "I32", 4),
    (DType::U64, "U64", 8),
    (DType::I64, "I64", 8),
    (DType::F8E4M3, "F8_E4M3", 1),
    (DType::F8E5M2, "F8_E5M2", 1),
    (DType::F16, "F16", 2),
    (DType::BF16, "BF16", 2),
    (DType::F32, "F32", 4),
    (DType::F64, "F64", 8),
];

impl DType {
    /// Name in safetensors headers.
    pub fn name(self) -> &'static str {
        TYPES[self as usize].1
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        TYPES[self as usize].2
    }

    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }

    /// Bytes of a tensor of this shape, `None` where that is over 2^64.
    pub fn bytes_of(self, shape: &[usize]) -> Option<u64> {
        shape.iter().try_fold(self.size() as u64, |bytes, dim| bytes.checked_mul(*dim as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (dtype, name, size) in TYPES {
            assert_eq!((dtype.name(), dtype.size(), DType::from_name(name)), (name, size, Some(dtype)));
        }
        assert_eq!(DType::from_name("F4"), None);
    }

    #[test]
    fn sizes_that_overflow_are_no_sizes() {
        assert_eq!(DType::F32.bytes_of(&[2, 3]), Some(24));
        assert_eq!(DType::F32.bytes_of(&[]), Some(4));
        assert_eq!(DType::F64.bytes_of(&[usize::MAX, 2]), None);
    }
}
