//! Model files with synthetic weights.

use std::fs;
use std::path::Path;

use percept::weights::OpenModel;
use percept::weights::{Synthetic, WeightSource};
use safetensors::tensor::{Dtype, TensorView};

/// The tensors of a file: name, type, shape, bytes.
pub type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// Writes a model file.
///
/// # Panics
/// Panics if the tensors do not make a model file, or if the folder cannot be written to.
pub fn write_model(to: &Path, kind: &str, config: &str, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
    });
    let metadata = [("percept.kind", kind), ("percept.config", config)];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), Some(metadata)).expect("a file");
    fs::write(to, bytes).expect("a writable folder");
}

/// Returns the bytes of a tensor in f32.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes a model file with synthetic weights.
///
/// # Panics
/// See [`write_model`].
pub fn write_synthetic(to: &Path, kind: &str, config: &str, weights: &Synthetic) {
    let tensors = weights.tensors().into_iter().map(|name| {
        let shape = weights.shape(&name).expect("a shape").to_vec();
        let data = bytes_of(&weights.tensor(&name).expect("a tensor"));
        (name, Dtype::F32, shape, data)
    });
    write_model(to, kind, config, &tensors.collect());
}

/// Returns the configuration and the synthetic weights of a golden of `tests/goldens`.
///
/// # Panics
/// Panics if there is no golden of that name.
pub fn golden_model(name: &str) -> (String, Synthetic) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/{name}.safetensors"));
    let golden = OpenModel::open(&path).expect("a golden");
    let weights = Synthetic::from_json(golden.metadata("weights").expect("a listing")).expect("a listing");
    (golden.metadata("config").expect("a configuration").to_string(), weights)
}

/// Writes a decoder with synthetic weights. It makes images of 32 x 32 pixels from representations of 64
/// elements, a size that no layer of the demo's encoder has.
///
/// # Panics
/// See [`write_model`].
pub fn write_rcdm_of_64(to: &Path) {
    let (config, weights) = golden_model("unet_rcdm_32_cbn");
    write_synthetic(to, "unet", &config, &weights);
}

/// Writes an upsampler from 32 to 64 pixels with synthetic weights, with 7 classes or without.
///
/// # Panics
/// See [`write_model`].
pub fn write_upsampler_32_64(to: &Path, with_classes: bool) {
    // A UNet's weights do not depend on the size of its images, as long as attention is at the same depth.
    let (golden, attention) = match with_classes {
        true => ("sampler_superres_16_32", "32,16"),
        false => ("sampler_superres_8_32_ddim", "16"),
    };
    let (config, weights) = golden_model(golden);
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    for (flag, value) in [("small_size", 32), ("large_size", 64)] {
        config[flag] = value.into();
    }
    config["attention_resolutions"] = attention.into();
    write_synthetic(to, "superres", &config.to_string(), &weights);
}
