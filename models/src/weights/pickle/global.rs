//! The closed list of names that a checkpoint's pickle may mention.
//!
//! Everything on it is data or builds data; torch's own restricted unpickler
//! (torch/_weights_only_unpickler.py) admits a superset.

use super::DType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    /// `torch.Size`: a tuple of whole numbers.
    Size,
    /// `torch.device`: read and forgotten.
    Device,
    /// (storage, offset, shape, strides)
    RebuildTensor,
    /// (storage, offset, shape, strides, requires_grad, hooks, ..)
    RebuildTensorV2,
    /// (storage, offset, shape, strides, requires_grad, hooks, dtype, ..)
    RebuildTensorV3,
    /// (function, type, arguments, attributes)
    RebuildFromType,
    /// (tensor, requires_grad, hooks, ..)
    RebuildParameter,
    /// `torch.Tensor` and `Parameter`, as arguments of the above.
    TensorType,
    Storage(DType),
    /// A storage that is counted in bytes.
    UntypedStorage,
    DType(DType),
}

/// The name on the list, if it is.
pub fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::TensorType,
        ("torch" | "torch.storage", "UntypedStorage") => Global::UntypedStorage,
        ("torch", storage) if storage.ends_with("Storage") => {
            Global::Storage(STORAGES.iter().find(|(known, _)| *known == storage)?.1)
        }
        ("torch", dtype) => Global::DType(DTYPES.iter().find(|(known, _)| *known == dtype)?.1),
        _ => return None,
    })
}

/// What is on the list of torch but not read here: named as unsupported rather than as code.
pub fn is_unsupported_data(module: &str, name: &str) -> bool {
    let quantised = ["QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage"];
    let complex = ["ComplexFloatStorage", "ComplexDoubleStorage", "complex32", "complex64", "complex128"];
    match module {
        "torch" => quantised.contains(&name) || complex.contains(&name),
        "torch._utils" => {
            ["_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"].contains(&name)
        }
        _ => false,
    }
}

const STORAGES: [(&str, DType); 10] = [
    ("BoolStorage", DType::Bool),
    ("ByteStorage", DType::U8),
    ("CharStorage", DType::I8),
    ("ShortStorage", DType::I16),
    ("IntStorage", DType::I32),
    ("LongStorage", DType::I64),
    ("HalfStorage", DType::F16),
    ("BFloat16Storage", DType::BF16),
    ("FloatStorage", DType::F32),
    ("DoubleStorage", DType::F64),
];

const DTYPES: [(&str, DType); 15] = [
    ("bool", DType::Bool),
    ("uint8", DType::U8),
    ("int8", DType::I8),
    ("uint16", DType::U16),
    ("int16", DType::I16),
    ("uint32", DType::U32),
    ("int32", DType::I32),
    ("uint64", DType::U64),
    ("int64", DType::I64),
    ("float8_e4m3fn", DType::F8E4M3),
    ("float8_e5m2", DType::F8E5M2),
    ("float16", DType::F16),
    ("bfloat16", DType::BF16),
    ("float32", DType::F32),
    ("float64", DType::F64),
];
