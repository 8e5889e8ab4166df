//! Tests that any layer of an encoder can be the representation, and that nothing after it is computed.

use std::sync::Arc;

use percept::Error;
use percept::models::{ResNetConfig, resnet};
use percept::program::Graph;
use percept::weights::OpenModel;
use percept::weights::{Checkpoint, kind_and_config};
use percept::{Device, Encoder, Preprocessing};
use percept_tests::relative_error;

use crate::encoders::{picture, write_vit};
use crate::model_files::{asset, cpu, devices};

const SIZE: usize = 64;

fn preprocessing() -> Preprocessing {
    Preprocessing::new("rcdm", SIZE as u32).expect("a preset")
}

/// Opens the demo's encoder, and its head if needed, up to a layer.
fn open(layer: &str, device: &Device) -> Encoder {
    let head = asset("head.safetensors");
    let head = layer.starts_with("head").then_some(head.as_path());
    let encoder = Encoder::open_layer(asset("encoder.safetensors"), head, layer, Some(preprocessing()), device);
    encoder.unwrap_or_else(|error| panic!("{layer}: {error}"))
}

/// Returns the number of ops that an encoder runs, and the bytes of weights that they read.
fn costs(encoder: &Encoder) -> (usize, usize) {
    let program = encoder.program().expect("a program");
    (program.ops().len(), program.memory().weights)
}

/// Runs the whole network and averages its feature maps by plain sums.
fn stages_of_the_demo() -> Vec<(String, Vec<f32>)> {
    let model = OpenModel::open(asset("encoder.safetensors")).expect("the demo's encoder");
    let config = ResNetConfig::from_json(kind_and_config(&model).expect("a configuration").1).expect("a configuration");
    let mut g = Graph::new();
    let image = g.input("image", [1, SIZE, SIZE, 3]);
    let checkpoint = Checkpoint::new(&model);
    let values = resnet(&mut g, &config, &checkpoint.root(), image).expect("a network");
    checkpoint.finish("a resnet").expect("its tensors");
    values.stages.iter().for_each(|(name, value)| g.output(name, *value));
    g.output("trunk", values.trunk);
    let program = Arc::new(g.finish().expect("a program"));
    let mut executor = Device::reference().load(program.clone(), &model).expect("an executor");
    let crop = preprocessing().crop(&picture(9)).expect("a crop");
    executor.write("image", &preprocessing().to_input(&crop)).expect("an input");
    executor.run(program.body()).expect("a run");
    let mean = |(name, id): &(String, _)| {
        let shape = program.value(*id).shape;
        let channels = *shape.last().expect("channels");
        let values = executor.read(name).expect("an output");
        let pixels = values.len() / channels;
        let sum = |c: usize| values.iter().skip(c).step_by(channels).map(|&x| f64::from(x)).sum::<f64>();
        (name.clone(), (0..channels).map(|c| (sum(c) / pixels as f64) as f32).collect())
    };
    program.outputs().to_vec().iter().map(mean).collect()
}

#[test]
fn every_layer_of_a_resnet_is_the_mean_of_its_feature_maps() {
    let stages = stages_of_the_demo();
    let names: Vec<&str> = stages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stem", "layer1", "layer2", "layer3", "layer4", "trunk"]);
    let mut before = (0, 0);
    for (layer, want) in &stages {
        for device in devices() {
            let mut encoder = open(layer, &device);
            let h = encoder.encode(&picture(9)).expect("a representation");
            assert_eq!((h.len(), encoder.dim(), encoder.layer()), (want.len(), want.len(), layer.as_str()));
            assert!(relative_error(&h, want) <= 1e-5, "{layer}");
        }
        // Deeper layers cost more; the trunk is the last layer's mean.
        let cost = costs(&open(layer, &cpu()));
        assert!(if layer == "trunk" { cost == before } else { cost.0 > before.0 && cost.1 > before.1 }, "{layer}");
        before = cost;
    }
}

#[test]
fn layers_of_a_head() {
    let dims = |layer: &str| open(layer, &cpu()).dim();
    assert_eq!([dims("head.0"), dims("head")], [512, 256]);
    let mut last = open("head.2", &cpu());
    let h = last.encode(&picture(9)).expect("a representation");
    assert_eq!(h, open("head", &cpu()).encode(&picture(9)).expect("a representation"));
    assert_eq!(last.models().count(), 2);
    // The first layer needs less of the head.
    let [first, whole, trunk] = ["head.0", "head", "trunk"].map(|layer| costs(&open(layer, &cpu())));
    assert!(trunk < first && first < whole, "{trunk:?} {first:?} {whole:?}");
}

#[test]
fn layers_of_a_vision_transformer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vit.safetensors");
    write_vit(&path);
    let preprocessing = Preprocessing::new("rcdm", 56).expect("a preset");
    let encode = |layer: &str| {
        let mut encoder = Encoder::open_layer(&path, None, layer, Some(preprocessing), &cpu()).expect("an encoder");
        (encoder.encode(&picture(9)).expect("a representation"), costs(&encoder).0)
    };
    let layers = ["block0", "block1", "trunk", "tokens_mean", "patch_mean"];
    let encoded = layers.map(encode);
    for (index, (h, _)) in encoded.iter().enumerate() {
        assert_eq!(h.len(), 256);
        assert!(encoded[..index].iter().all(|(other, _)| relative_error(h, other) > 1e-3), "{}", layers[index]);
    }
    // One block, two blocks, then a norm, then a norm and a mean. Nothing is computed that only other layers
    // need.
    let ops = encoded.map(|(_, ops)| ops);
    assert!(ops[0] < ops[1] && ops[1] <= ops[2] && ops[2] + 1 == ops[3] && ops[3] == ops[4], "{ops:?}");
}

#[test]
fn a_layer_that_is_not_there_is_named_with_those_that_are() {
    let encoder = asset("encoder.safetensors");
    for (layer, with_head, expected) in [
        ("layer5", false, "one of stem, layer1, layer2, layer3, layer4, trunk of "),
        ("head", false, "a layer of the encoder, for there is no head"),
        ("head.9", true, "one of head.0, head.1, head.2, head of "),
        ("layer2", true, "one of the head, which is given"),
    ] {
        let head = asset("head.safetensors");
        let head = with_head.then_some(head.as_path());
        match Encoder::open_layer(&encoder, head, layer, Some(preprocessing()), &cpu()).map(|_| ()) {
            Err(Error::Config(mismatch)) => {
                assert!(mismatch.at == "layer" && mismatch.expected.contains(expected), "{mismatch}");
                assert!(mismatch.got.contains(layer), "{mismatch}");
            }
            other => panic!("{layer}: {other:?}"),
        }
    }
}
