//! The demo's files, and model files that are changed or made up.

use std::fs;
use std::path::{Path, PathBuf};

use percept::gpu::Gpu;
use percept::pipeline::{Device, Rcdm, open_model};
use percept::weights::{Synthetic, WeightSource};
use safetensors::tensor::{Dtype, TensorView};

/// A file of the demo set.
pub fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets").join(name)
}

pub fn cpu() -> Device {
    Device::cpu().expect("a CPU")
}

/// The CPU, and the first GPU if there is one.
pub fn devices() -> Vec<Device> {
    let gpu = percept_tests::adapters().into_iter().next().map(|adapter| Gpu::open(&adapter).expect("a device"));
    [cpu()].into_iter().chain(gpu.map(Device::from)).collect()
}

/// The demo's decoder of representations of the trunk.
pub fn trunk_decoder() -> Rcdm {
    Rcdm::open(&asset("decoder_trunk.safetensors"), &cpu()).expect("a decoder")
}

type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn write(path: &Path, kind: &str, config: &str, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
    });
    let metadata = [("percept.kind", kind), ("percept.config", config)];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), Some(metadata)).expect("a file");
    fs::write(path, bytes).expect("a writable folder");
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes the model file `from` again, one tensor filled with `value`, or under another name.
pub fn write_changed(from: &Path, to: &Path, tensor: &str, value: f32, new_name: &str) {
    let model = open_model(from).expect("a model file");
    assert!(model.shape(tensor).is_some(), "no tensor {tensor}");
    let tensors = model.tensors().into_iter().map(|name| {
        let shape = model.shape(&name).expect("a shape").to_vec();
        let (dtype, data) = model.raw(&name).expect("a tensor");
        if name == tensor {
            let values = vec![value; shape.iter().product()];
            (new_name.to_string(), Dtype::F32, shape, bytes_of(&values))
        } else {
            (name, dtype, shape, data.to_vec())
        }
    });
    let metadata = |key: &str| model.metadata(key).expect("metadata");
    write(to, metadata("percept.kind"), metadata("percept.config"), &tensors.collect());
}

/// Writes a model file of made up weights.
pub fn write_synthetic(to: &Path, kind: &str, config: &str, weights: &Synthetic) {
    let tensors = weights.tensors().into_iter().map(|name| {
        let shape = weights.shape(&name).expect("a shape").to_vec();
        let data = bytes_of(&weights.tensor(&name).expect("a tensor"));
        (name, Dtype::F32, shape, data)
    });
    write(to, kind, config, &tensors.collect());
}
