//! Tests that released diffusion models are recognized by their tensors alone. Names and shapes are enough, so
//! the files' data are holes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use percept::models::{ClassifierConfig, UnetConfig, classifier};
use percept::program::Graph;
use percept::weights::tensors_of;
use percept_tests::add_unet;
use percept_weights::Checkpoint;
use percept_weights::convert::{Options, plan};
use percept_weights::hyperparameters::{CLASSIFIERS, Given, PRESETS};
use serde_json::{Value, json};

/// Writes a .safetensors file of tensors with these shapes, whose elements are a hole in the file.
fn hole(path: &Path, shapes: &BTreeMap<String, Vec<usize>>) {
    hole_with(path, shapes, &json!({}));
}

/// Does the same with metadata.
fn hole_with(path: &Path, shapes: &BTreeMap<String, Vec<usize>>, metadata: &Value) {
    let mut end = 0;
    let about = |(name, shape): (&String, &Vec<usize>)| {
        let begin = end;
        end += shape.iter().product::<usize>() * 2;
        (name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}))
    };
    let metadata = ("__metadata__".to_string(), metadata.clone());
    let header = Value::Object(shapes.iter().map(about).chain([metadata]).collect()).to_string();
    let mut file = File::create(path).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
    file.write_all(header.as_bytes()).expect("written");
    file.set_len((8 + header.len() + end) as u64).expect("a hole");
}

/// Returns the tensors of a preset's network.
fn shapes_of(flags: &Value) -> BTreeMap<String, Vec<usize>> {
    let config = UnetConfig::from_json(&flags.to_string()).expect("flags");
    let tensors = tensors_of(|scope| add_unet(&mut Graph::new(), &config, scope, 1).map(drop));
    tensors.expect("a network").into_iter().map(|(name, shape)| (name, shape.to_vec())).collect()
}

#[test]
fn every_preset_is_known_by_its_tensors() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flags) in PRESETS {
        let mut flags: Value = serde_json::from_str(flags).expect("JSON");
        let is_upsampler = name.starts_with("upsampler");
        if name.starts_with("rcdm") {
            flags["ssl_dim"] = 768.into();
        }
        let shapes = shapes_of(&flags);
        let path = folder.path().join(format!("{name}.safetensors"));
        hole(&path, &shapes);
        let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
        let (conversions, unused) =
            plan(&checkpoint, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let [conversion] = &conversions[..] else { panic!("{name}: {} models", conversions.len()) };
        assert_eq!(conversion.config.preset, Some(name));
        assert_eq!(conversion.model.kind.name(), if is_upsampler { "superres" } else { "unet" });
        assert!(conversion.faults.is_none() && unused.is_empty(), "{name}: {:?}", conversion.faults);
        assert_eq!(conversion.matched.len(), shapes.len(), "{name}");
        // The file contains every flag, and those of the preset have the preset's values.
        let config: Value = serde_json::from_str(&conversion.config.json).expect("JSON");
        for (flag, value) in flags.as_object().expect("flags") {
            assert_eq!(&config[flag], value, "{name}: {flag}");
        }
    }
}

/// Returns the tensors of a classifier's network.
fn shapes_of_classifier(flags: &Value) -> BTreeMap<String, Vec<usize>> {
    let config = ClassifierConfig::from_json(&flags.to_string()).expect("flags");
    let tensors = tensors_of(|scope| {
        let mut g = Graph::new();
        let x = g.input("x", [1, config.image_size, config.image_size, 3]);
        let time = g.input("time", [1, config.num_channels]);
        classifier(&mut g, &config, scope, x, time).map(|_| ())
    });
    tensors.expect("a network").into_iter().map(|(name, shape)| (name, shape.to_vec())).collect()
}

fn planned(path: &Path, options: &Options) -> percept::Result<(String, Value, usize)> {
    let checkpoint = Checkpoint::open(path).expect("a checkpoint");
    let (conversions, unused) = plan(&checkpoint, options)?;
    let [conversion] = &conversions[..] else { panic!("{} models", conversions.len()) };
    assert!(conversion.faults.is_none() && unused.is_empty(), "{:?}", conversion.faults);
    assert_eq!(conversion.model.kind.name(), "classifier");
    let config = serde_json::from_str(&conversion.config.json).expect("JSON");
    Ok((conversion.config.preset.unwrap_or("none").to_string(), config, conversion.matched.len()))
}

#[test]
fn every_classifier_is_known_by_its_tensors() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flags) in CLASSIFIERS {
        let flags: Value = serde_json::from_str(flags).expect("JSON");
        let shapes = shapes_of_classifier(&flags);
        let path = folder.path().join(format!("{name}.safetensors"));
        hole(&path, &shapes);
        let (preset, config, matched) =
            planned(&path, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((preset.as_str(), matched), (name, shapes.len()));
        for (flag, value) in flags.as_object().expect("flags") {
            assert_eq!(&config[flag], value, "{name}: {flag}");
        }
        assert_eq!(config["out_channels"], 1000);
    }
}

/// A file that the converter has written is converted again, whatever its kind.
#[test]
fn a_classifier_of_percepts_is_known_by_its_metadata() {
    let flags: Value = serde_json::from_str(CLASSIFIERS[0].1).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("classifier.safetensors");
    let shapes = shapes_of_classifier(&flags);
    hole_with(&path, &shapes, &json!({"percept.kind": "classifier", "percept.config": flags.to_string()}));
    let (_, config, matched) = planned(&path, &Options::default()).expect("a plan");
    assert_eq!(matched, shapes.len());
    for (flag, value) in flags.as_object().expect("flags") {
        assert_eq!(&config[flag], value, "{flag}");
    }
}

/// For a classifier that was not released, the number of heads is not guessed.
#[test]
fn a_classifier_of_ones_own_wants_flags() {
    let flags = json!({
        "image_size": 16, "num_channels": 32, "num_res_blocks": 1, "num_head_channels": 8, "channel_mult": "1,2",
        "attention_resolutions": "8", "pool": "adaptive", "out_channels": 7,
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.safetensors");
    let shapes = shapes_of_classifier(&flags);
    hole(&path, &shapes);
    let told = planned(&path, &Options::default()).expect_err("flags are missing").to_string();
    assert!(told.contains("image_size, num_res_blocks, num_head_channels"), "{told}");
    let given = flags.as_object().expect("flags").clone();
    let options = Options { given: Given { flags: given, ..Given::default() }, ..Options::default() };
    let (preset, config, matched) = planned(&path, &options).expect("a plan");
    assert_eq!((preset.as_str(), matched, &config["pool"]), ("none", shapes.len(), &json!("adaptive")));
    let mut wrong = flags.as_object().expect("flags").clone();
    wrong.insert("out_channels".into(), 8.into());
    let options = Options { given: Given { flags: wrong, ..Given::default() }, ..Options::default() };
    let told = planned(&path, &options).expect_err("a contradiction").to_string();
    assert!(told.contains("out_channels") && told.contains('7'), "{told}");
}

/// In floating point 480 / 352 * 352 is less than 480. The converter writes the next larger multiple, which
/// gives 480.
#[test]
fn multiples_of_channels_give_the_channels() {
    let quotient = 480.0f64 / 352.0;
    assert_eq!((quotient * 352.0) as usize, 479);
    let given = json!({"image_size": 16, "num_head_channels": 32});
    let mut flags = given.clone();
    let of_weights = json!({
        "num_channels": 352, "num_res_blocks": 1, "channel_mult": format!("1,{}", quotient.next_up()),
        "attention_resolutions": "8", "learn_sigma": true,
    });
    flags.as_object_mut().expect("flags").extend(of_weights.as_object().expect("flags").clone());
    let shapes = shapes_of(&flags);
    assert_eq!(shapes["middle_block.0.in_layers.2.weight"][0], 480);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("unet.safetensors");
    hole(&path, &shapes);
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let flags = given.as_object().expect("flags").clone();
    let options = Options { given: Given { flags, ..Given::default() }, ..Options::default() };
    let (conversions, unused) = plan(&checkpoint, &options).expect("a plan");
    assert!(conversions[0].faults.is_none() && unused.is_empty(), "{:?}", conversions[0].faults);
    assert_eq!(conversions[0].matched.len(), shapes.len());
}

/// RCDM-128 as it was released: 494 tensors, 422.6 million parameters.
#[test]
fn rcdm_128_has_the_released_count_of_parameters() {
    let (_, flags) = PRESETS[0];
    let mut flags: Value = serde_json::from_str(flags).expect("JSON");
    flags["ssl_dim"] = 2048.into();
    let shapes = shapes_of(&flags);
    let parameters: usize = shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(shapes.len(), 494);
    assert!((422_500_000..422_700_000).contains(&parameters), "{parameters}");
}
