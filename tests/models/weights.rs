//! Tests weights that do not fit the configuration: one error reports everything that is wrong, and the error
//! for a value that is not a number names its tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use percept::Device;
use percept::error::{Mismatch, WeightsReport};
use percept::weights::{Synthetic, WeightSource};
use percept::{Error, Precision, Result, Shape};
use serde_json::json;

use crate::source::{build, config, listing, program, with_flag};

#[track_caller]
fn report(result: Result<percept::program::Program>) -> WeightsReport {
    match result {
        Err(Error::Weights(report)) => report,
        other => panic!("not a report on weights: {:?}", other.map(|program| program.ops().len())),
    }
}

/// Returns the missing and the unexpected names, and the misshaped ones with their shapes.
fn names(report: &WeightsReport) -> [Vec<String>; 3] {
    let missing = report.missing.iter().map(|(name, _)| name.clone());
    let misshaped = report.misshaped.iter().map(|m| format!("{} {} {}", m.at, m.expected, m.got));
    [missing.collect(), report.unexpected.clone(), misshaped.collect()]
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let golden = "head_vicreg";
    let mut shapes = listing(golden);
    assert!(build(golden, &config(golden), shapes.clone()).is_ok());
    let variance = shapes.remove("1.running_var").expect("a tensor of the head");
    shapes.insert("1.runing_var".to_string(), variance);
    shapes.remove("4.weight").expect("a tensor of the head");
    shapes.insert("queue".to_string(), Shape::from([7]));
    shapes.insert("3.weight".to_string(), Shape::from([512, 256]));
    // These are known, and not needed.
    shapes.insert("1.num_batches_tracked".to_string(), Shape::from([]));
    shapes.insert("last_layer.weight_g".to_string(), Shape::from([3, 1]));

    let report = report(build(golden, &config(golden), shapes));
    let matched = ["0.bias", "0.weight", "1.bias", "1.running_mean", "1.weight", "3.bias"].into_iter().chain([
        "4.bias",
        "4.running_mean",
        "4.running_var",
        "6.weight",
    ]);
    let expected = WeightsReport {
        matched: matched.map(str::to_string).collect(),
        model: "synthetic weights as head".to_string(),
        missing: vec![("1.running_var".to_string(), Some("1.runing_var".to_string())), ("4.weight".to_string(), None)],
        misshaped: vec![Mismatch {
            at: "3.weight".to_string(),
            expected: "[512, 512]".to_string(),
            got: "[512, 256]".to_string(),
        }],
        unexpected: vec!["1.runing_var".to_string(), "queue".to_string()],
    };
    assert_eq!(report, expected);
    let lines = [
        "synthetic weights as head: the tensors do not fit the configuration: 2 missing, 1 of another shape, 2 unexpected",
        "  missing 1.running_var (the file has 1.runing_var)",
        "  missing 4.weight",
        "  3.weight: expected [512, 512], got [512, 256]",
        "  unexpected 1.runing_var",
        "  unexpected queue",
    ];
    assert_eq!(Error::Weights(report).to_string().lines().collect::<Vec<_>>(), lines);
}

/// The width of the MLP is read from the checkpoint; it need not be four times the width of the tokens.
#[test]
fn what_a_vision_transformer_has_no_use_for_is_passed_over() {
    let golden = "vit_tiny_p16_96";
    let mut shapes = listing(golden);
    for (name, shape) in [("head.weight", [1000, 192]), ("fc.weight", [10, 192]), ("mask_token", [1, 192])] {
        shapes.insert(name.to_string(), Shape::from(shape));
    }
    for (name, shape) in [("weight", vec![500, 192]), ("bias", vec![500])] {
        shapes.insert(format!("blocks.7.mlp.fc1.{name}"), Shape::new(&shape).expect("a shape"));
    }
    shapes.insert("blocks.7.mlp.fc2.weight".to_string(), Shape::from([192, 500]));
    assert!(build(golden, &config(golden), shapes.clone()).is_ok());
    shapes.insert("header.weight".to_string(), Shape::from([1]));
    assert_eq!(report(build(golden, &config(golden), shapes)).unexpected, ["header.weight"]);
}

#[test]
fn the_nearest_name_is_that_of_the_fewest_changes() {
    let golden = "unet_rcdm_32";
    let mut shapes = listing(golden);
    // Names that another library might use.
    for (from, to) in [("time_embed.0.weight", "time_embed_0.weight"), ("ssl_emb.bias", "ssl_embed.bias")] {
        let shape = shapes.remove(from).expect("a tensor of the unet");
        shapes.insert(to.to_string(), shape);
    }
    shapes.remove("out.2.bias").expect("a tensor of the unet");
    let mut missing = report(build(golden, &config(golden), shapes)).missing;
    missing.sort();
    let near = |name: &str, near: Option<&str>| (name.to_string(), near.map(str::to_string));
    assert_eq!(
        missing,
        [
            near("out.2.bias", None),
            near("ssl_emb.bias", Some("ssl_embed.bias")),
            near("time_embed.0.weight", Some("time_embed_0.weight"))
        ]
    );
}

/// Only a limited number of names is compared; otherwise a hostile file could make that take hours.
#[test]
fn a_near_name_is_looked_for_among_a_million_pairs_at_most() {
    let golden = "unet_rcdm_32";
    for (others, want) in [((1 << 20) - 1, Some("time_embed_0.weight")), (1 << 20, None)] {
        let mut shapes = listing(golden);
        let shape = shapes.remove("time_embed.0.weight").expect("a tensor of the unet");
        shapes.insert("time_embed_0.weight".to_string(), shape);
        // So short that none of them is similar.
        shapes.extend((0..others).map(|index| (format!("{index:x}"), Shape::from([1]))));
        let missing = report(build(golden, &config(golden), shapes)).missing;
        assert_eq!(missing, [("time_embed.0.weight".to_string(), want.map(str::to_string))]);
    }
}

#[test]
fn a_configuration_that_contradicts_the_weights_is_told_tensor_by_tensor() {
    // The golden, its changed configuration, and the numbers of missing, unexpected and misshaped tensors.
    let resnet = |json: serde_json::Value| json.to_string();
    let unet = |flag: &str, value: serde_json::Value| with_flag(&config("unet_rcdm_32"), flag, value);
    let vit = |flag: &str, value: serde_json::Value| with_flag(&config("vit_tiny_p16_96"), flag, value);
    let dinov2 = |flag: &str, value: serde_json::Value| with_flag(&config("dinov2_reg4_p14_70x84"), flag, value);
    let classifier = |flag: &str, value: serde_json::Value| with_flag(&config("classifier_attnpool_32"), flag, value);
    let superres = |flags: serde_json::Value, without: &[&str]| {
        let mut json: serde_json::Value = serde_json::from_str(&config("superres_16_32")).expect("JSON");
        let own = json.as_object_mut().expect("an object");
        own.retain(|flag, _| !without.contains(&flag.as_str()));
        own.extend(flags.as_object().cloned().unwrap_or_default());
        json.to_string()
    };
    let without = with_flag(&unet("conditioning", json!("none")), "ssl_dim", json!(0));
    let cases = [
        // A block has two convolutions of one tensor and two norms of four.
        ("resnet18_64", resnet(json!({"arch": "resnet34"})), [80, 0, 0], "layer1.2.conv1.weight"),
        (
            "resnet18_64",
            resnet(json!({"block": "basic", "layers": [2, 2, 2, 1]})),
            [0, 10, 0],
            "layer4.1.bn2.running_var",
        ),
        (
            "resnet18_64",
            resnet(json!({"block": "basic", "layers": [2, 2, 2, 2], "width": 32})),
            [0, 0, 101],
            "bn1.bias [32] [64]",
        ),
        // 53 convolutions with their norms and fc. The names of 20 convolutions and fc exist; eight conv1,
        // three downsamplings and fc have other shapes.
        ("resnet18_64", resnet(json!({"arch": "resnet50"})), [165, 0, 24], "layer3.5.bn3.weight"),
        ("unet_rcdm_32", unet("learn_sigma", json!(false)), [0, 0, 2], "out.2.weight [3, 32, 3, 3] [6, 32, 3, 3]"),
        ("unet_rcdm_32", unet("ssl_dim", json!(63)), [0, 0, 1], "ssl_emb.weight [128, 63] [128, 64]"),
        ("unet_rcdm_32", without, [0, 2, 0], "ssl_emb.bias"),
        (
            "unet_rcdm_32",
            unet("use_scale_shift_norm", json!(false)),
            [0, 0, 30],
            "middle_block.2.emb_layers.1.bias [64] [128]",
        ),
        // Not an upsampler, but the UNet with its other flags.
        (
            "superres_16_32",
            superres(json!({"image_size": 32, "class_cond": true}), &["small_size", "large_size"]),
            [0, 0, 1],
            "input_blocks.0.0.weight [32, 3, 3, 3] [32, 6, 3, 3]",
        ),
        ("superres_16_32", superres(json!({"class_cond": false}), &[]), [0, 1, 0], "label_emb.weight"),
        ("classifier_attnpool_32", classifier("out_channels", json!(11)), [0, 0, 2], "out.2.c_proj.bias [11] [10]"),
        // Two tensors of a convolution instead of five of attention.
        ("classifier_attnpool_32", classifier("pool", json!("adaptive")), [2, 5, 0], "out.2.positional_embedding"),
        ("head_barlow", with_flag(&config("head_barlow"), "dims", json!([256, 512, 512])), [0, 5, 0], "2.0.weight"),
        ("head_byol", with_flag(&config("head_byol"), "head", json!("simclr")), [4, 8, 0], "mlp.0.weight"),
        // A block has twelve tensors, or fourteen with layer scale.
        ("vit_tiny_p16_96", vit("depth", json!(11)), [0, 12, 0], "blocks.11.mlp.fc2.bias"),
        ("vit_tiny_p16_96", vit("depth", json!(13)), [12, 0, 0], "blocks.12.attn.qkv.weight"),
        ("vit_tiny_p16_96", vit("image", json!(224)), [0, 0, 1], "pos_embed [1, 197, 192] [1, 37, 192]"),
        ("vit_tiny_p16_96", vit("layer_scale", json!(true)), [24, 0, 0], "blocks.3.ls2.gamma"),
        ("dinov2_reg4_p14_70x84", dinov2("layer_scale", json!(false)), [0, 6, 0], "blocks.2.ls1.gamma"),
        ("dinov2_reg4_p14_70x84", dinov2("registers", json!(0)), [0, 1, 0], "register_tokens"),
        ("dinov2_reg4_p14_70x84", dinov2("registers", json!(5)), [0, 0, 1], "register_tokens [1, 5, 192] [1, 4, 192]"),
    ];
    for (golden, config, counts, named) in cases {
        let found = names(&report(build(golden, &config, listing(golden))));
        assert_eq!(found.each_ref().map(Vec::len), counts, "{config}: {found:#?}");
        assert!(found.iter().flatten().any(|name| name == named), "{config}: {found:#?}");
    }
}

/// Weights with one element replaced.
struct Poisoned {
    weights: Synthetic,
    tensor: &'static str,
    value: f32,
}

impl WeightSource for Poisoned {
    fn name(&self) -> &str {
        "poisoned.safetensors"
    }

    fn tensors(&self) -> Vec<String> {
        self.weights.tensors()
    }

    fn shape(&self, tensor: &str) -> Option<Shape> {
        self.weights.shape(tensor)
    }

    fn read(&self, tensor: &str, out: &mut [f32]) -> Result<()> {
        self.weights.read(tensor, out)?;
        if tensor == self.tensor {
            out[2] = self.value;
        }
        Ok(())
    }
}

#[test]
fn a_number_that_is_none_names_its_tensor() {
    // Every way in which a tensor can become a weight.
    let cases = [
        ("resnet18_64", "conv1.weight"),
        ("resnet18_64", "layer2.0.downsample.1.running_var"),
        ("resnet18_64", "layer4.1.bn2.running_mean"),
        ("head_vicreg", "0.bias"),
        ("head_vicreg", "4.weight"),
        ("unet_rcdm_32", "out.0.weight"),
        ("unet_rcdm_32", "middle_block.1.qkv.weight"),
        ("unet_rcdm_32", "output_blocks.2.0.emb_layers.1.bias"),
        ("unet_adm_classcond_32", "label_emb.weight"),
        ("unet_rcdm_32_cbn", "middle_block.0.in_layers.0.stored_mean"),
        ("unet_rcdm_32_cbn_sn", "middle_block.0.in_layers.0.gain.u0"),
        ("unet_rcdm_32_cbn_sn", "shared.weight"),
        ("vit_tiny_p16_96", "patch_embed.proj.weight"),
        ("vit_tiny_p16_96", "pos_embed"),
        ("dinov2_reg4_p14_70x84", "cls_token"),
        ("dinov2_reg4_p14_70x84", "register_tokens"),
        ("dinov2_reg4_p14_70x84", "blocks.0.norm1.weight"),
        ("dinov2_reg4_p14_70x84", "blocks.1.attn.proj.bias"),
        ("dinov2_reg4_p14_70x84", "blocks.2.ls2.gamma"),
    ];
    let devices = [Device::reference(), Device::cpu().expect("a CPU")];
    let mut programs: BTreeMap<&str, Arc<percept::program::Program>> = BTreeMap::new();
    for (golden, tensor) in cases {
        let program = programs.entry(golden).or_insert_with(|| {
            let weights = Synthetic::new(listing(golden));
            Arc::new(program(golden, &config(golden), &weights).expect("a program"))
        });
        for (value, got) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let weights = Poisoned { weights: Synthetic::new(listing(golden)), tensor, value };
            for device in &devices {
                match device.load(program.clone(), &weights).map(|_| ()) {
                    Err(Error::NotFinite(mismatch)) => {
                        assert_eq!(mismatch.at, format!("poisoned.safetensors: {tensor}"));
                        assert_eq!(mismatch.got, format!("{got} at element 2"));
                    }
                    other => panic!("{tensor}: {other:?}"),
                }
            }
        }
        let weights = Poisoned { weights: Synthetic::new(listing(golden)), tensor, value: 0.5 };
        assert!(devices.iter().all(|device| device.load(program.clone(), &weights).is_ok()), "{tensor}");
    }
}

#[test]
fn weights_that_half_precision_has_no_room_for_are_refused() {
    let weights = Synthetic::new(listing("unet_rcdm_32"));
    let program = Arc::new(program("unet_rcdm_32", &config("unet_rcdm_32"), &weights).expect("a program"));
    for (value, fits) in [(65_519.0, true), (-65_520.0, false), (1e6, false)] {
        let weights = Poisoned { weights: Synthetic::new(listing("unet_rcdm_32")), tensor: "ssl_emb.weight", value };
        for device in [Device::reference(), Device::cpu().expect("a CPU")] {
            assert!(device.load(program.clone(), &weights).is_ok());
            match device.with_precision(Precision::F16).load(program.clone(), &weights) {
                Ok(executor) => {
                    let (tensor, worst) = executor.weight_rounding().worst.clone().expect("rounded weights");
                    assert_eq!((fits, tensor.as_str(), worst.largest_error), (true, "ssl_emb.weight", 15.0));
                }
                Err(Error::NotFinite(mismatch)) => {
                    assert_eq!((fits, mismatch.at.as_str()), (false, "poisoned.safetensors: ssl_emb.weight"));
                    assert!(mismatch.expected.contains("65504"), "{mismatch}");
                    assert_eq!(mismatch.got, format!("1 elements over it, up to {}", value.abs()));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}
