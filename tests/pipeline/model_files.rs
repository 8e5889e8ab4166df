//! The demo's files, and changed model files.

use std::path::{Path, PathBuf};

use percept::device::gpu::Gpu;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Device, Rcdm};
use percept_tests::model_file::{bytes_of, write_model};
use safetensors::tensor::Dtype;

/// Returns the path of a file of the demo set.
pub fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/assets").join(name)
}

pub fn cpu() -> Device {
    Device::cpu().expect("a CPU")
}

/// Returns the CPU, and the first GPU if there is one.
pub fn devices() -> Vec<Device> {
    let gpu = percept_tests::adapters().into_iter().next().map(|adapter| Gpu::open(&adapter).expect("a device"));
    [cpu()].into_iter().chain(gpu.map(Device::from)).collect()
}

/// Opens the demo's decoder of representations of the trunk.
pub fn trunk_decoder() -> Rcdm {
    Rcdm::open(asset("decoder_trunk.safetensors"), &cpu()).expect("a decoder")
}

/// Writes the model file `from` again, with one tensor filled with `value` and renamed to `new_name`.
pub fn write_changed(from: &Path, to: &Path, tensor: &str, value: f32, new_name: &str) {
    let model = OpenModel::open(from).expect("a model file");
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
    write_model(to, metadata("percept.kind"), metadata("percept.config"), &tensors.collect());
}
