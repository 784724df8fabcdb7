//! Two meshes as one source, for recipes that hold one against the other.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::Bundle;
use crate::error::StageError;

const FIRST: &str = "first";
const SECOND: &str = "second";

/// One blob. Equal pairs give equal bytes.
pub fn to_bytes(first: &Bundle, second: &Bundle) -> Result<Vec<u8>, StageError> {
    let internal = |e: safetensors::SafeTensorError| StageError::internal(e.to_string());
    let (first, second) = (first.to_bytes()?, second.to_bytes()?);
    let mut views = Vec::new();
    for (name, bytes) in [(FIRST, &first), (SECOND, &second)] {
        views.push((name, TensorView::new(Dtype::U8, vec![bytes.len()], bytes).map_err(internal)?));
    }
    safetensors::serialize(views, None).map_err(internal)
}

/// What `to_bytes` gave; `InvalidInput` for anything else.
pub fn from_bytes(bytes: &[u8]) -> Result<[Bundle; 2], StageError> {
    let alone = || StageError::invalid("there is only one mesh to compare", "give two: `meshkiln compare A B`");
    let tensors = SafeTensors::deserialize(bytes).map_err(|_| alone())?;
    let bundle = |name| tensors.tensor(name).map(|tensor| Bundle::from_bytes(tensor.data())).map_err(|_| alone());
    Ok([bundle(FIRST)?, bundle(SECOND)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bundles_survive_and_one_is_no_pair() {
        let [a, b] = ["v 0 0 0", "ply\n"].map(|text| Bundle::single("", text.as_bytes().to_vec()));
        assert_eq!(from_bytes(&to_bytes(&a, &b).unwrap()).unwrap(), [a.clone(), b]);
        assert!(from_bytes(&a.to_bytes().unwrap()).is_err());
    }
}
