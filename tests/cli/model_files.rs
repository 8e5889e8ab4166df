//! Tests model files that are damaged, foreign, or do not fit together.

use std::fs;
use std::path::Path;

use percept_tests::write_rcdm_of_64;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::{Folder, asset};

/// A tensor of a model file.
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes a model file again with other tensors, and with another configuration if one is given.
fn rewrite(from: &Path, to: &Path, config: Option<&str>, change: impl FnOnce(&mut Vec<Stored>)) {
    let bytes = fs::read(from).expect("a model of the demo");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a model of the demo");
    let mut metadata = header.metadata().clone();
    if let (Some(metadata), Some(config)) = (&mut metadata, config) {
        metadata.insert("percept.config".into(), config.into());
    }
    let tensors = SafeTensors::deserialize(&bytes).expect("a model of the demo").tensors();
    let stored = |(name, view): (String, TensorView<'_>)| Stored {
        name,
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let mut tensors: Vec<Stored> = tensors.into_iter().map(stored).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.expect("bytes of the shape"))
    });
    fs::write(to, serialize(views, metadata).expect("tensors")).expect("a temporary folder");
}

fn tensor<'a>(tensors: &'a mut [Stored], name: &str) -> &'a mut Stored {
    let found = tensors.iter_mut().find(|tensor| tensor.name == name);
    found.unwrap_or_else(|| panic!("no tensor {name}"))
}

/// Asserts a failure with an encoder, a decoder and maybe a head. Each is a file of the folder or of the demo
/// set.
fn fails(folder: &Folder, [encoder, head, decoder]: [&str; 3], saying: &[&str]) {
    let path = |name: &str| if folder.path(name).exists() { name.into() } else { asset(name).display().to_string() };
    let head = if head.is_empty() { String::new() } else { format!("--head {}", path(head)) };
    let line = format!("sample --steps 2 --encoder {} {head} --decoder {}", path(encoder), path(decoder));
    folder.percept_fails(&line, &[asset("images/1_disc.png")], saying);
}

const ENCODER: &str = "encoder.safetensors";
const DECODER: &str = "decoder_trunk.safetensors";

#[test]
fn files_that_are_no_models() {
    let folder = Folder::new();
    let whole = fs::read(asset(ENCODER)).expect("a model of the demo");
    folder.write("cut.safetensors", &whole[..whole.len() / 2]);
    folder.write("header.safetensors", &whole[..100]);
    folder.write("empty.safetensors", "");
    folder.write("text.safetensors", "This is the readme of a checkpoint, not the checkpoint.");
    fs::create_dir(folder.path("folder.safetensors")).expect("a folder");
    for (name, expected) in [
        ("cut.safetensors", "a whole .safetensors file"),
        ("header.safetensors", "a .safetensors file"),
        ("empty.safetensors", "a .safetensors file"),
        ("text.safetensors", "a .safetensors file"),
        ("folder.safetensors", "a .safetensors file"),
        ("missing.safetensors", "a readable .safetensors file"),
    ] {
        fails(&folder, [name, "", DECODER], &[name, "expected", expected]);
        fails(&folder, [ENCODER, "", name], &[name, "expected", expected]);
        fails(&folder, [ENCODER, name, DECODER], &[name, "expected", expected]);
    }
    // A picture instead of a model.
    fails(&folder, ["images/1_disc.png", "", DECODER], &["1_disc.png", "a .safetensors file"]);
}

#[test]
fn models_in_the_wrong_place() {
    let folder = Folder::new();
    fails(&folder, [DECODER, "", DECODER], &[DECODER, "kind \"resnet\"", "\"unet\""]);
    fails(&folder, [ENCODER, "", ENCODER], &[ENCODER, "kind \"unet\"", "\"resnet\""]);
    fails(&folder, [ENCODER, ENCODER, DECODER], &[ENCODER, "kind \"head\"", "\"resnet\""]);
    fails(&folder, [ENCODER, "", "goldens/encoder.safetensors"], &["encoder.safetensors", "percept.kind"]);
}

#[test]
fn models_that_do_not_go_together() {
    let folder = Folder::new();
    write_rcdm_of_64(&folder.path("other.safetensors"));
    let other = ["other.safetensors", "the 256 elements of the encoder's trunk", "one for 64"];
    fails(&folder, [ENCODER, "", "other.safetensors"], &other);
    let other = ["other.safetensors", "the 256 elements of the encoder's head", "one for 64"];
    fails(&folder, [ENCODER, "head.safetensors", "other.safetensors"], &other);
    let dims = r#"{"head": "vicreg", "dims": [64, 512, 512, 256]}"#;
    rewrite(&asset("head.safetensors"), &folder.path("narrow.safetensors"), Some(dims), |_| ());
    let saying = ["narrow.safetensors", "a head for the encoder's 256 features", "one for 64"];
    fails(&folder, [ENCODER, "narrow.safetensors", DECODER], &saying);
}

#[test]
fn tensors_that_are_not_those_of_the_configuration() {
    let folder = Folder::new();
    let broken = |config: Option<&str>, change: &dyn Fn(&mut Vec<Stored>), saying: &[&str]| {
        rewrite(&asset(ENCODER), &folder.path("broken.safetensors"), config, change);
        fails(&folder, ["broken.safetensors", "", DECODER], &[&["broken.safetensors"], saying].concat());
    };
    // One error reports everything that is wrong, with the most similar name.
    let change = |tensors: &mut Vec<Stored>| {
        tensors.retain(|tensor| tensor.name != "layer2.0.conv1.weight");
        tensor(tensors, "layer1.0.bn1.bias").name = "layer1.0.bn1.bais".into();
        tensor(tensors, "conv1.weight").shape = vec![32, 3, 49, 1];
    };
    let saying = [
        "2 missing, 1 of another shape, 1 unexpected",
        "missing layer2.0.conv1.weight",
        "missing layer1.0.bn1.bias (the file has layer1.0.bn1.bais)",
        "conv1.weight: expected [32, 3, 7, 7], got [32, 3, 49, 1]",
        "unexpected layer1.0.bn1.bais",
    ];
    broken(None, &change, &saying);
    let deeper = r#"{"block": "basic", "layers": [1, 1, 1, 2], "width": 32}"#;
    broken(Some(deeper), &|_| (), &["missing layer4.1.conv1.weight"]);
    let wider = r#"{"block": "basic", "layers": [1, 1, 1, 1], "width": 64}"#;
    broken(Some(wider), &|_| (), &["conv1.weight: expected [64, 3, 7, 7], got [32, 3, 7, 7]"]);
}

#[test]
fn configurations_that_make_no_model() {
    let folder = Folder::new();
    let broken = |config: &str, saying: &[&str]| {
        rewrite(&asset(ENCODER), &folder.path("broken.safetensors"), Some(config), |_| ());
        fails(&folder, ["broken.safetensors", "", DECODER], saying);
    };
    broken("basic", &["percept.config"]);
    broken(r#"{"block": "square", "layers": [1, 1, 1, 1], "width": 32}"#, &["percept.config", "square"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let folder = Folder::new();
    for name in [ENCODER, DECODER] {
        let nan_in = if name == ENCODER { "layer3.0.conv2.weight" } else { "input_blocks.0.0.weight" };
        rewrite(&asset(name), &folder.path("nan.safetensors"), None, |tensors| {
            let tensor = tensor(tensors, nan_in);
            assert_eq!(tensor.dtype, Dtype::F16);
            tensor.bytes[20..22].copy_from_slice(&0x7e00u16.to_le_bytes());
        });
        let files = if name == ENCODER { ["nan.safetensors", "", DECODER] } else { [ENCODER, "", "nan.safetensors"] };
        fails(&folder, files, &["nan.safetensors", nan_in, "finite", "NaN at element 10"]);
    }
}
