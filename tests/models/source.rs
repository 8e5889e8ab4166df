//! Weights that tests can change: shapes from the goldens, synthetic values.

use std::collections::BTreeMap;
use std::path::Path;

use percept::models::{self, ClassifierConfig, HeadConfig, ResNetConfig, UnetConfig, VitConfig};
use percept::program::{Graph, Program};
use percept::weights::OpenModel;
use percept::weights::{Checkpoint, Synthetic, WeightSource};
use percept::{Result, Shape};
use percept_tests::add_unet;

/// Returns the names and shapes that a golden lists.
pub fn listing(golden: &str) -> BTreeMap<String, Shape> {
    let weights = metadata(golden, "weights");
    let listed: BTreeMap<String, Vec<usize>> = serde_json::from_str(&weights).expect("names and shapes");
    listed.into_iter().map(|(name, dims)| (name, Shape::new(&dims).expect("a shape"))).collect()
}

pub fn config(golden: &str) -> String {
    metadata(golden, "config")
}

fn metadata(golden: &str, key: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(golden).with_extension("safetensors");
    let file = OpenModel::open(&path).unwrap_or_else(|error| panic!("{error}"));
    file.metadata(key).unwrap_or_else(|| panic!("{golden} has no {key}")).to_string()
}

/// Builds the program of a model from a configuration, with synthetic weights of these shapes. The golden's
/// name decides which model it is.
pub fn build(golden: &str, config: &str, shapes: BTreeMap<String, Shape>) -> Result<Program> {
    program(golden, config, &Synthetic::new(shapes))
}

/// Builds the program of a model with the given weights.
pub fn program(golden: &str, config: &str, weights: &dyn WeightSource) -> Result<Program> {
    let mut g = Graph::new();
    let checkpoint = Checkpoint::new(weights);
    let scope = checkpoint.root();
    let (model, output) = if golden.starts_with("resnet") {
        let image = g.input("image", [1, 32, 32, 3]);
        ("resnet", models::resnet(&mut g, &ResNetConfig::from_json(config)?, &scope, image)?.trunk)
    } else if golden.starts_with("vit") || golden.starts_with("dinov2") {
        let config = VitConfig::from_json(config)?;
        let image = g.input("image", [1, 2 * config.patch, 3 * config.patch, 3]);
        ("vit", models::vit(&mut g, &config, &scope, image)?.trunk)
    } else if golden.starts_with("head") {
        let config = HeadConfig::from_json(config)?;
        let trunk = g.input("trunk", [1, config.in_dim()]);
        let layers = models::head(&mut g, &config, &scope, trunk)?;
        ("head", layers[layers.len() - 1])
    } else if golden.starts_with("classifier") {
        let config = ClassifierConfig::from_json(config)?;
        let (size, channels) = (config.image_size, config.num_channels);
        let (x, time) = (g.input("x", [1, size, size, 3]), g.input("time", [1, channels]));
        ("classifier", models::classifier(&mut g, &config, &scope, x, time)?)
    } else {
        let config = UnetConfig::from_json(config)?;
        ("unet", add_unet(&mut g, &config, &scope, 1)?)
    };
    g.output("output", output);
    checkpoint.finish(model)?;
    g.finish()
}

/// Returns a configuration with one flag changed.
pub fn with_flag(config: &str, flag: &str, value: serde_json::Value) -> String {
    let mut json: serde_json::Value = serde_json::from_str(config).expect("JSON");
    json[flag] = value;
    json.to_string()
}
