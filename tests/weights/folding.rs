//! Tests weights that checkpoints store in parts against the equations that combine them.

use std::collections::BTreeMap;

use percept::weights::WeightSource;
use percept_tests::SplitMix;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::convert::{converted, with};

const DIMS: [usize; 3] = [5, 4, 3];

/// Converts a SimCLR head whose first weight is stored in parts, and returns the model's first weight.
fn first_weight(parts: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<f32> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = SplitMix::new(5);
    let mut tensors = parts.clone();
    let mut plain = |name: &str, shape: Vec<usize>| {
        let values = random.floats(shape.iter().product());
        tensors.insert(name.to_string(), (shape, values));
    };
    plain("mlp.0.bias", vec![DIMS[1]]);
    plain("mlp.2.weight", vec![DIMS[2], DIMS[1]]);
    plain("mlp.2.bias", vec![DIMS[2]]);
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, (shape, values))| (name, (shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    let path = folder.path().join("head.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).expect("tensors")).expect("a file");
    let out = folder.path().join("out.safetensors");
    converted(&path, &out, &with(json!({"head": "simclr"}))).expect("a model");
    percept::weights::OpenModel::open(&out).expect("a model").tensor("mlp.0.weight").expect("a weight")
}

fn random(seed: u64, count: usize) -> Vec<f32> {
    SplitMix::new(seed).floats(count)
}

fn assert_close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(1.0), "{got} {want}");
    }
}

/// Both of PyTorch's names: `torch.nn.utils.weight_norm` and its parametrization.
#[test]
fn weight_norm() {
    let [inputs, outputs, _] = DIMS;
    let (gain, direction) = (random(1, outputs), random(2, outputs * inputs));
    for [g, v] in [["weight_g", "weight_v"], ["parametrizations.weight.original0", "parametrizations.weight.original1"]]
    {
        let parts = BTreeMap::from([
            (format!("mlp.0.{g}"), (vec![outputs, 1], gain.clone())),
            (format!("mlp.0.{v}"), (vec![outputs, inputs], direction.clone())),
        ]);
        let want: Vec<f64> = (0..outputs * inputs)
            .map(|i| {
                let row = &direction[i / inputs * inputs..][..inputs];
                let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                f64::from(gain[i / inputs]) * f64::from(direction[i]) / norm
            })
            .collect();
        assert_close(&first_weight(&parts), &want);
    }
}

#[test]
fn spectral_norm() {
    let [inputs, outputs, _] = DIMS;
    let (weight, u, v) = (random(3, outputs * inputs), random(4, outputs), random(5, inputs));
    let mut sigma = 0.0;
    for o in 0..outputs {
        for i in 0..inputs {
            sigma += f64::from(u[o]) * f64::from(weight[o * inputs + i]) * f64::from(v[i]);
        }
    }
    let want: Vec<f64> = weight.iter().map(|&w| f64::from(w) / sigma).collect();
    for [w, left, right] in [
        ["weight_orig", "weight_u", "weight_v"],
        ["parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"],
    ] {
        let parts = BTreeMap::from([
            (format!("mlp.0.{w}"), (vec![outputs, inputs], weight.clone())),
            (format!("mlp.0.{left}"), (vec![outputs], u.clone())),
            (format!("mlp.0.{right}"), (vec![inputs], v.clone())),
        ]);
        assert_close(&first_weight(&parts), &want);
    }
}
