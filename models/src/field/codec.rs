//! A field as safetensors.

use glam::Vec3;
use safetensors::{Dtype, SafeTensors};

use super::{Decoder, DecoderLayer, Field, Placement, Planes, Products, Scales, Wishes};
use crate::{
    error::StageError,
    mesh::codec::{Writer, open, tensor, words},
};

impl Field {
    /// Tensors of f32: `planes` [3, channels, side, side], `decoder.I.weight` [n_out, n_in] and
    /// `decoder.I.bias` [n_out] for each layer, `scales` [3] (radius, density bias, threshold)
    /// `placement` [4] (scale, origin),
    /// `height` [1]; and of u32 `sizes` [2] (resolution, texture) and `quick` [1] (1 for `Products::Quick`).
    pub fn to_bytes(&self) -> Result<Vec<u8>, StageError> {
        let mut out = Writer::default();
        let Planes { values, channels, side } = &*self.planes;
        out.add("planes", vec![3, *channels, *side, *side], values.iter().copied());
        for (i, DecoderLayer { weight, bias }) in self.decoder.layers.iter().enumerate() {
            let shape = vec![bias.len(), weight.len() / bias.len()];
            out.add(format!("decoder.{i}.weight"), shape, weight.iter().copied());
            out.add(format!("decoder.{i}.bias"), vec![bias.len()], bias.iter().copied());
        }
        let Scales { radius, density_bias, threshold } = self.scales;
        out.add("scales", vec![3], [radius, density_bias, threshold]);
        let Placement { scale, origin } = self.placement;
        out.add("placement", vec![4], [scale, origin.x, origin.y, origin.z]);
        let Wishes { height, resolution, texture } = self.wishes;
        out.add("height", vec![1], [height]);
        out.add("sizes", vec![2], [resolution, texture]);
        out.add("quick", vec![1], [u32::from(self.products == Products::Quick)]);
        out.finish()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Field, StageError> {
        let file = open(bytes)?;
        let (shape, values) = floats(&file, "planes")?;
        let [3, channels, side, _] = shape[..] else {
            return Err(StageError::internal(format!("tensor `planes` is {shape:?}, not [3, c, n, n]")));
        };
        let n_layers = (0..).take_while(|i| file.tensor(&format!("decoder.{i}.weight")).is_ok()).count();
        let layers = (0..n_layers).map(|i| {
            let weight = floats(&file, &format!("decoder.{i}.weight"))?.1;
            Ok(DecoderLayer { weight, bias: floats(&file, &format!("decoder.{i}.bias"))?.1 })
        });
        let decoder = Decoder { layers: layers.collect::<Result<_, StageError>>()? };
        let [radius, density_bias, threshold] = numbers(&file, "scales")?;
        let [scale, x, y, z] = numbers(&file, "placement")?;
        let scales = Scales { radius, density_bias, threshold };
        let products = match words::<1>(&file, "quick")?[..] {
            [[0]] => Products::Exact,
            _ => Products::Quick,
        };
        let mut field = Field::new(Planes { values, channels, side }, decoder.into(), scales, products)?;
        field.placement = Placement { scale, origin: Vec3::new(x, y, z) };
        let [height] = numbers(&file, "height")?;
        let [[resolution, texture]] = words::<2>(&file, "sizes")?[..] else {
            return Err(StageError::internal("tensor `sizes` does not hold 2 numbers"));
        };
        field.wishes = Wishes { height, resolution, texture };
        Ok(field)
    }
}

fn floats(file: &SafeTensors, name: &str) -> Result<(Vec<usize>, Vec<f32>), StageError> {
    let tensor = tensor(file, name, Dtype::F32)?;
    let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok((tensor.shape().to_vec(), values))
}

fn numbers<const N: usize>(file: &SafeTensors, name: &str) -> Result<[f32; N], StageError> {
    let wrong =
        |values: Vec<f32>| StageError::internal(format!("tensor `{name}` has {} numbers, not {N}", values.len()));
    floats(file, name)?.1.try_into().map_err(wrong)
}
