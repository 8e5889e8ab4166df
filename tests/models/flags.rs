//! Tests the effect of every flag of the configurations of encoders, heads and classifiers on the results. The
//! flags of UNets are tested in tests/pipeline/flags.rs.

use std::collections::BTreeMap;
use std::sync::Arc;

use percept::Device;
use percept::check::Network;
use percept::models::{ClassifierConfig, HeadConfig, Model, ResNetConfig, VitConfig};
use percept::weights::Synthetic;
use percept::{Error, Result, Shape};
use percept_tests::{assert_every_field_has_a_case, fields};
use serde_json::{Value, json};

/// The effect of a changed flag on the results.
enum Expect {
    /// None.
    Same,
    /// The same weights give other results.
    Others,
    /// The weights are refused; weights of the changed configuration give other results.
    OtherWeights,
}

use Expect::{OtherWeights, Others, Same};

/// A flag, the changes of the base configuration, the change of the flag after that, and its effect.
type Case<'a> = (&'a str, Value, Value, Expect);

/// The height and width of an encoder's images.
const SIZE: usize = 24;

/// Returns the names and shapes of a configuration's weights.
fn shapes_of(kind: &str, json: &str) -> BTreeMap<String, Shape> {
    let shapes = Model::new(kind, json).and_then(|model| model.tensors(SIZE));
    shapes.unwrap_or_else(|error| panic!("{kind} {json}: {error}"))
}

/// Returns all results of one pass.
fn results(kind: &str, json: &str, shapes: BTreeMap<String, Shape>) -> Result<Vec<Vec<f32>>> {
    let network = Network::of_weights(Model::new(kind, json)?, Box::new(Synthetic::new(shapes)), SIZE)?;
    let program = Arc::new(network.program(1)?);
    let mut executor = Device::cpu()?.load(program.clone(), network.weights())?;
    network.write_inputs(executor.as_mut())?;
    executor.run(program.body())?;
    program.outputs().iter().map(|(name, _)| executor.read(name)).collect()
}

/// Returns a configuration with other values of some flags.
fn with(config: &Value, flags: &Value) -> Value {
    let mut config = config.clone();
    for (flag, value) in flags.as_object().expect("an object") {
        config[flag] = value.clone();
    }
    config
}

fn assert_changes(kind: &str, config: &Value, fields: &[&str], cases: &[Case<'_>]) {
    for (_, given, changed, expect) in cases {
        let given = with(config, given);
        let (given, changed) = (given.to_string(), with(&given, changed).to_string());
        let case = format!("{kind} from {given} to {changed}");
        let shapes = shapes_of(kind, &given);
        let was = results(kind, &given, shapes.clone()).expect("results");
        match (expect, results(kind, &changed, shapes)) {
            (Same, Ok(is)) => assert!(is == was, "{case}: the results change"),
            (Others, Ok(is)) => assert!(is.iter().zip(&was).all(|(is, was)| is != was), "{case}: no change"),
            (OtherWeights, Err(Error::Weights(_))) => {
                let is = results(kind, &changed, shapes_of(kind, &changed)).expect("results");
                assert!(is.iter().zip(&was).all(|(is, was)| is != was), "{case}: no change");
            }
            (_, Ok(_)) => panic!("{case}: the weights fit"),
            (_, Err(error)) => panic!("{case}: {error}"),
        }
    }
    assert_every_field_has_a_case(fields, &cases.iter().map(|(flag, ..)| *flag).collect::<Vec<_>>());
}

#[test]
fn every_flag_of_a_resnet_changes_what_it_should() {
    let config = json!({"block": "basic", "layers": [1, 1], "width": 8});
    let of_18 = json!({"layers": [2, 2, 2, 2], "width": 64});
    let [fields @ .., width_per_group] = fields!(ResNetConfig { block, layers, width, width_per_group });
    assert_eq!(width_per_group, "width_per_group");
    assert_changes(
        "resnet",
        &config,
        &fields,
        &[
            ("block", json!({}), json!({"block": "bottleneck"}), OtherWeights),
            ("layers", json!({}), json!({"layers": [1, 2]}), OtherWeights),
            ("width", json!({}), json!({"width": 16}), OtherWeights),
            ("layers", of_18, json!({"arch": "resnet18"}), Same),
            ("layers", json!({"arch": "resnet18"}), json!({"layers": [1]}), Same),
        ],
    );
    // The last field follows from the architecture's name. Weights of that size are only listed, not created.
    let [wide, plain] =
        ["wide_resnet50_2", "resnet50"].map(|arch| shapes_of("resnet", &json!({ "arch": arch }).to_string()));
    for (tensor, of_wide, of_plain) in [
        ("layer1.0.conv1.weight", [128, 64, 1, 1], [64, 64, 1, 1]),
        ("layer1.0.conv2.weight", [128, 128, 3, 3], [64, 64, 3, 3]),
        ("layer1.0.conv3.weight", [256, 128, 1, 1], [256, 64, 1, 1]),
        ("layer4.2.conv2.weight", [1024, 1024, 3, 3], [512, 512, 3, 3]),
    ] {
        assert_eq!((&wide[tensor][..], &plain[tensor][..]), (&of_wide[..], &of_plain[..]), "{tensor}");
    }
}

#[test]
fn every_flag_of_a_vit_changes_what_it_should() {
    // The images are larger than those of the position embeddings.
    let config = json!({"patch": 8, "dim": 32, "depth": 1, "heads": 2, "image": 16});
    let none = || json!({});
    assert_changes(
        "vit",
        &config,
        &fields!(VitConfig { patch, dim, depth, heads, image, ln_eps, registers, layer_scale, pos_embed }),
        &[
            ("patch", none(), json!({"patch": 4}), OtherWeights),
            ("dim", none(), json!({"dim": 64}), OtherWeights),
            ("depth", none(), json!({"depth": 2}), OtherWeights),
            ("heads", none(), json!({"heads": 4}), Others),
            ("image", none(), json!({"image": 24}), OtherWeights),
            ("ln_eps", none(), json!({"ln_eps": 0.01}), Others),
            ("ln_eps", none(), json!({"ln_eps": 1e-6}), Same),
            ("registers", none(), json!({"registers": 2}), OtherWeights),
            ("layer_scale", none(), json!({"layer_scale": true}), OtherWeights),
            ("pos_embed", none(), json!({"pos_embed": "antialias"}), Others),
            // Nothing is resized.
            ("pos_embed", json!({"image": 24}), json!({"pos_embed": "antialias"}), Same),
        ],
    );
}

#[test]
fn every_flag_of_a_head_changes_what_it_should() {
    let config = json!({"head": "dino", "dims": [16, 24, 8]});
    let head = |head: &str| json!({ "head": head });
    assert_changes(
        "head",
        &config,
        &fields!(HeadConfig { head, dims }),
        &[
            // GELU and ReLU between the same layers.
            ("head", head("dino"), head("simclr"), Others),
            ("head", head("simclr"), head("barlow"), OtherWeights),
            ("head", head("barlow"), head("vicreg"), OtherWeights),
            ("head", head("vicreg"), head("byol"), OtherWeights),
            ("head", head("byol"), head("swav"), Same),
            ("dims", json!({}), json!({"dims": [16, 32, 8]}), OtherWeights),
            ("dims", json!({}), json!({"dims": [16, 24, 24, 8]}), OtherWeights),
        ],
    );
}

#[test]
fn every_flag_of_a_classifier_changes_what_it_should() {
    let config = json!({
        "image_size": 8, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "attention_resolutions": "4",
        "num_head_channels": 16, "pool": "adaptive", "out_channels": 5,
    });
    let none = || json!({});
    let larger = || json!({"image_size": 16, "attention_resolutions": "8"});
    let attention = || json!({"pool": "attention"});
    assert_changes(
        "classifier",
        &config,
        &fields!(ClassifierConfig {
            image_size,
            num_channels,
            num_res_blocks,
            num_heads,
            num_head_channels,
            attention_resolutions,
            channel_mult,
            use_scale_shift_norm,
            resblock_updown,
            use_new_attention_order,
            pool,
            out_channels,
        }),
        &[
            ("image_size", none(), larger(), Others),
            ("image_size", attention(), larger(), OtherWeights),
            ("num_channels", none(), json!({"num_channels": 64}), OtherWeights),
            ("num_res_blocks", none(), json!({"num_res_blocks": 2}), OtherWeights),
            ("num_heads", none(), json!({"num_heads": 2}), Same),
            ("num_heads", json!({"num_head_channels": -1}), json!({"num_heads": 2}), Others),
            ("num_head_channels", none(), json!({"num_head_channels": 32}), Others),
            ("attention_resolutions", none(), json!({"attention_resolutions": "8,4"}), OtherWeights),
            ("channel_mult", none(), json!({"channel_mult": "1,1"}), OtherWeights),
            ("use_scale_shift_norm", none(), json!({"use_scale_shift_norm": false}), OtherWeights),
            ("resblock_updown", none(), json!({"resblock_updown": false}), OtherWeights),
            ("use_new_attention_order", none(), json!({"use_new_attention_order": true}), Others),
            ("pool", none(), attention(), OtherWeights),
            ("pool", none(), json!({"pool": "spatial"}), OtherWeights),
            ("pool", attention(), json!({"pool": "spatial"}), OtherWeights),
            ("out_channels", none(), json!({"out_channels": 6}), OtherWeights),
        ],
    );
}
