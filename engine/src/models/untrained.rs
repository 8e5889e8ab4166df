//! Untrained encoders, as a baseline for trained ones.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};

use super::{Model, ResNetConfig, VitConfig};
use crate::reference::{normals, philox4x32_10};
use crate::weights::{OpenModel, fnv1a64};
use crate::{Error, Result, Shape};

/// The vision transformers: name, channels, heads and blocks.
const VITS: [(&str, usize, usize, usize); 4] =
    [("tiny", 192, 3, 12), ("small", 384, 6, 12), ("base", 768, 12, 12), ("large", 1024, 16, 24)];

/// The distribution of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Initial {
    /// A constant.
    Constant(f32),
    /// A normal distribution with mean 0 and this standard deviation.
    Normal(f64),
    /// A uniform distribution between the negative of this bound and the bound.
    Uniform(f64),
}

/// Creates an in-memory model file of an encoder with random weights.
///
/// ResNets (`resnet18`, ...) are initialised as torchvision does (He et al. 2015, <https://arxiv.org/abs/1502.01852>,
/// eq. 14: normal with variance 2 / fan_out). Vision transformers (`vit_tiny_patch16_224`, ...) are initialised as DINO
/// does (normal with standard deviation 0.02). The same seed gives the same weights on every machine, but not the
/// numbers that PyTorch draws.
///
/// The file is called `random:ARCH:SEED` in errors and in the records of samples.
///
/// # Errors
/// Returns [`Error::Config`], which lists the architectures that exist, if `arch` is not one of them.
///
/// ```
/// use percept::{Device, Encoder};
/// use percept::models::untrained;
///
/// let model = untrained("resnet18", 0)?;
/// let encoder = Encoder::of(model, None, "layer2", None, &Device::cpu()?)?;
/// assert_eq!(encoder.dim(), 128);
/// # Ok::<(), percept::Error>(())
/// ```
pub fn untrained(arch: &str, seed: u64) -> Result<OpenModel> {
    let (model, config, size) = match arch.strip_prefix("vit_") {
        Some(name) => {
            let config = vit_named(name).ok_or_else(|| unknown(arch))?;
            let json =
                serde_json::to_string(&config).map_err(|error| Error::config("arch", "a configuration", error))?;
            let size = config.image;
            (Model::Vit(config), json, size)
        }
        None => {
            let config = ResNetConfig::named(arch).map_err(|_| unknown(arch))?;
            (Model::ResNet(config), serde_json::json!({"arch": arch}).to_string(), 224)
        }
    };
    written(&format!("random:{arch}:{seed}"), model.kind(), config, &model.tensors(size)?, seed)
}

fn unknown(arch: &str) -> Error {
    let expected =
        "a ResNet of torchvision such as resnet50, or vit_tiny, small, base or large with _patch8_224 or _patch16_224";
    Error::config("arch", expected, format!("{arch:?}"))
}

/// Returns the configuration of a name such as `small_patch16_224`.
fn vit_named(name: &str) -> Option<VitConfig> {
    let (size, rest) = name.split_once("_patch")?;
    let (patch, image) = rest.split_once('_')?;
    let (_, dim, heads, depth) = VITS.into_iter().find(|(other, ..)| *other == size)?;
    let patch: usize = patch.parse().ok().filter(|patch| [8, 14, 16, 32].contains(patch))?;
    let image: usize = image.parse().ok().filter(|image| *image > 0)?;
    let json = serde_json::json!({"patch": patch, "dim": dim, "depth": depth, "heads": heads, "image": image});
    VitConfig::from_json(&json.to_string()).ok()
}

/// Returns the distribution of a tensor's elements.
fn initial(kind: &str, tensor: &str, shape: Shape) -> Initial {
    let leaf = tensor.rsplit('.').next().unwrap_or(tensor);
    let fan_in: usize = shape.iter().skip(1).product();
    let is_patches = tensor.starts_with("patch_embed.");
    match (leaf, shape.len()) {
        ("running_var", _) | ("weight", 1) => Initial::Constant(1.0),
        // DINO keeps PyTorch's default for this convolution, whose bias has the range of its weight.
        ("weight", 4) if is_patches => Initial::Uniform(1.0 / (fan_in as f64).sqrt()),
        ("weight", 4) => Initial::Normal((2.0 / (shape[0] * shape[2] * shape[3]) as f64).sqrt()),
        ("weight" | "cls_token" | "pos_embed" | "register_tokens", _) if kind == "vit" => Initial::Normal(0.02),
        _ => Initial::Constant(0.0),
    }
}

/// Draws the elements of a tensor, four from each block of Philox. The counter is the block's index and a hash of the
/// tensor's name.
fn drawn(tensor: &str, elements: usize, initial: Initial, seed: u64) -> Vec<f32> {
    let hash = fnv1a64(tensor);
    // The last word of the counter is 2, because the noise of samplers uses 0 and 1.
    let counter = |block: usize| [block as u32, hash as u32, (hash >> 32) as u32, 2];
    let key = [seed as u32, (seed >> 32) as u32];
    let four = |block: usize| -> [f32; 4] {
        match initial {
            Initial::Constant(value) => [value; 4],
            Initial::Normal(deviation) => normals(counter(block), key).map(|x| (f64::from(x) * deviation) as f32),
            Initial::Uniform(bound) => philox4x32_10(counter(block), key)
                .map(|word| ((f64::from(word) + 0.5) / 2f64.powi(31) - 1.0) * bound)
                .map(|x| x as f32),
        }
    };
    (0..elements.div_ceil(4)).flat_map(four).take(elements).collect()
}

fn written(name: &str, kind: &str, config: String, shapes: &BTreeMap<String, Shape>, seed: u64) -> Result<OpenModel> {
    let unwritable = |error: &dyn std::fmt::Display| Error::file(name, "a model in memory", error);
    let bytes_of = |(tensor, shape): (&String, &Shape)| -> Vec<u8> {
        let values = drawn(tensor, shape.elements(), initial(kind, tensor, *shape), seed);
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    let tensors: Vec<Vec<u8>> = shapes.iter().map(bytes_of).collect();
    let mut views = Vec::new();
    for ((tensor, shape), bytes) in shapes.iter().zip(&tensors) {
        views.push((tensor, TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(|error| unwritable(&error))?));
    }
    let metadata = [("percept.kind", kind.to_string()), ("percept.config", config)];
    let metadata = metadata.into_iter().map(|(key, text)| (key.to_string(), text)).collect();
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(&error))?;
    OpenModel::from_bytes(name, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::WeightSource;

    /// Returns the mean and the standard deviation.
    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        (mean, (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn weights_have_the_deviations_of_their_rules() {
        let resnet = untrained("resnet18", 7).expect("a resnet");
        let vit = untrained("vit_tiny_patch16_224", 7).expect("a vit");
        for (model, tensor, deviation) in [
            (&resnet, "conv1.weight", (2.0f64 / (64.0 * 49.0)).sqrt()),
            (&resnet, "layer4.1.conv2.weight", (2.0f64 / (512.0 * 9.0)).sqrt()),
            (&vit, "blocks.3.attn.qkv.weight", 0.02),
            (&vit, "pos_embed", 0.02),
            // Uniform between -b and b: the variance is b^2 / 3.
            (&vit, "patch_embed.proj.weight", 1.0 / (3.0f64 * 768.0).sqrt()),
        ] {
            let values = model.tensor(tensor).expect("a tensor");
            let (mean, got) = moments(&values);
            // Five standard errors.
            let error = 5.0 * deviation / (values.len() as f64).sqrt();
            assert!(mean.abs() < error && (got - deviation).abs() < error, "{tensor}: {mean} {got} {deviation}");
        }
        for (tensor, value) in
            [("bn1.weight", 1.0), ("bn1.bias", 0.0), ("bn1.running_mean", 0.0), ("bn1.running_var", 1.0)]
        {
            assert!(resnet.tensor(tensor).expect("a tensor").iter().all(|&x| x == value), "{tensor}");
        }
        assert!(vit.tensor("blocks.0.mlp.fc1.bias").expect("a tensor").iter().all(|&x| x == 0.0));
    }

    #[test]
    fn tensors_and_seeds_differ() {
        let read =
            |seed, tensor: &str| untrained("resnet18", seed).expect("a resnet").tensor(tensor).expect("a tensor");
        assert_eq!(read(1, "conv1.weight"), read(1, "conv1.weight"));
        assert_ne!(read(1, "conv1.weight"), read(2, "conv1.weight"));
        assert_ne!(read(1, "layer1.0.conv1.weight"), read(1, "layer1.0.conv2.weight"));
    }

    #[test]
    fn what_is_no_architecture_is_refused() {
        for arch in [
            "",
            "resnet51",
            "vit_",
            "vit_small",
            "vit_small_patch16",
            "vit_huge_patch16_224",
            "vit_small_patch3_224",
            "vit_base_patch16_225",
        ] {
            let error = untrained(arch, 0).map(|_| ()).expect_err("no architecture").to_string();
            assert!(error.contains("such as resnet50") && error.contains(arch), "{error}");
        }
    }
}
