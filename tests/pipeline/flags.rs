//! Tests the effect of every flag of a UNet's configuration on the images of a decoder or an upsampler.

use std::ops::ControlFlow;
use std::path::PathBuf;

use image::{Rgb, RgbImage};
use percept::models::UnetConfig;
use percept::weights::Synthetic;
use percept::{Error, Result};
use percept::{Method, Rcdm, SampleOptions, Upsampler};
use percept_tests::{SplitMix, assert_every_field_has_a_case, fields, unet_weights, write_synthetic};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_files::cpu;

/// The effect of a changed flag on the images.
enum Expect {
    /// None.
    Same,
    /// The same weights give other images.
    Others,
    /// The weights are refused; weights of the changed configuration give other images.
    OtherWeights,
    /// The configuration is refused, with an error of this flag.
    Refused(&'static str),
}

use Expect::{OtherWeights, Others, Refused, Same};

/// Creates synthetic weights of a configuration.
pub fn weights_of(config: &Value) -> Synthetic {
    let config = UnetConfig::from_json(&config.to_string()).expect("a configuration");
    unet_weights(&config).expect("a network")
}

/// Writes a model file: an upsampler if the configuration has a large size, else a decoder.
pub fn write(config: &Value, weights: &Synthetic) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let kind = if config.get("large_size").is_some() { "superres" } else { "unet" };
    write_synthetic(&path, kind, &config.to_string(), weights);
    (folder, path)
}

/// Creates a picture of any size that is brighter to the right and redder to the bottom.
fn picture(size: u32) -> RgbImage {
    RgbImage::from_fn(size, size, |x, y| Rgb([y, x, x].map(|place| (255 * place / size) as u8)))
}

/// Returns the images of a configuration with these weights.
fn images(config: &Value, weights: &Synthetic) -> Result<Vec<RgbImage>> {
    let (_folder, path) = write(config, weights);
    let options = |config: &UnetConfig| SampleOptions {
        samples: 2,
        method: Method::ddpm(3),
        class: (config.classes() as u32).checked_sub(1),
        ..SampleOptions::default()
    };
    if config.get("large_size").is_some() {
        let upsampler = Upsampler::open(&path, &cpu())?;
        let small = picture(upsampler.config().small_size as u32);
        let go_on = &mut |_: &mut _| ControlFlow::Continue(());
        return Ok(upsampler.sample_all(&[&small], &options(upsampler.config()), go_on)?.concat());
    }
    let rcdm = Rcdm::open(&path, &cpu())?;
    rcdm.sample(&SplitMix::new(5).floats(rcdm.config().ssl_dim), &options(rcdm.config()))
}

/// Returns a configuration with other values of some flags.
fn with(config: &Value, flags: &Value) -> Value {
    let mut config = config.clone();
    for (flag, value) in flags.as_object().expect("an object") {
        config[flag] = value.clone();
    }
    config
}

fn assert_changes(given: &Value, changed: &Value, expect: &Expect) {
    let weights = weights_of(given);
    let was = images(given, &weights).expect("images");
    let with_its_weights = images(changed, &weights);
    let case = format!("from {given} to {changed}");
    match (expect, with_its_weights) {
        (Same, Ok(is)) => assert!(is == was, "{case}: the images change"),
        (Others, Ok(is)) => {
            assert!(is.len() == was.len() && is.iter().all(|image| !was.contains(image)), "{case}: no change");
        }
        (OtherWeights, Err(Error::Weights(_))) => {
            let is = images(changed, &weights_of(changed)).expect("images");
            assert!(is.len() == was.len() && is.iter().all(|image| !was.contains(image)), "{case}: no change");
        }
        (Refused(flag), Err(Error::Config(mismatch))) => {
            assert!(mismatch.at.ends_with(flag), "{case}: refused for {}", mismatch.at);
        }
        (_, Ok(_)) => panic!("{case}: the weights fit"),
        (_, Err(error)) => panic!("{case}: {error}"),
    }
}

#[test]
fn every_flag_of_a_decoder_changes_what_it_should() {
    let config = json!({
        "image_size": 8, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "attention_resolutions": "4",
        "resblock_updown": true, "learn_sigma": true, "ssl_dim": 6, "conditioning": "time_embedding",
    });
    let none = json!({});
    let classes = json!({"class_cond": true, "num_classes": 10});
    let per_head = json!({"num_head_channels": 8});
    let cbn = json!({"conditioning": "cbn"});
    let long = json!({"diffusion_steps": 4000});
    let cases = [
        ("image_size", &none, json!({"image_size": 16, "attention_resolutions": "8"}), Others),
        ("small_size", &none, json!({"small_size": 4}), Refused("small_size")),
        ("num_channels", &none, json!({"num_channels": 64}), OtherWeights),
        ("num_res_blocks", &none, json!({"num_res_blocks": 2}), OtherWeights),
        ("num_heads", &none, json!({"num_heads": 2}), Others),
        ("num_heads", &per_head, json!({"num_heads": 2}), Same),
        ("num_heads_upsample", &none, json!({"num_heads_upsample": 2}), Others),
        ("num_heads_upsample", &none, json!({"num_heads_upsample": 4}), Same),
        ("num_head_channels", &none, json!({"num_head_channels": 8}), Others),
        // 4 heads of the 64 channels.
        ("num_head_channels", &none, json!({"num_head_channels": 16}), Same),
        ("attention_resolutions", &none, json!({"attention_resolutions": "8,4"}), OtherWeights),
        ("attention_resolutions", &none, json!({"attention_resolutions": "4,2"}), Same),
        ("channel_mult", &none, json!({"channel_mult": "1,1"}), OtherWeights),
        ("channel_mult", &none, json!({"channel_mult": "1.0, 2"}), Same),
        ("channel_mult", &none, json!({"channel_mult": ""}), Refused("channel_mult")),
        ("class_cond", &none, json!({"class_cond": true, "num_classes": 10}), OtherWeights),
        ("num_classes", &none, json!({"num_classes": 10}), Same),
        ("num_classes", &classes, json!({"num_classes": 11}), OtherWeights),
        ("use_scale_shift_norm", &none, json!({"use_scale_shift_norm": false}), OtherWeights),
        ("resblock_updown", &none, json!({"resblock_updown": false}), OtherWeights),
        ("use_new_attention_order", &none, json!({"use_new_attention_order": true}), Others),
        ("learn_sigma", &none, json!({"learn_sigma": false}), OtherWeights),
        ("ssl_dim", &none, json!({"ssl_dim": 7}), OtherWeights),
        ("ssl_dim", &none, json!({"ssl_dim": 0}), Refused("ssl_dim")),
        ("conditioning", &none, cbn.clone(), OtherWeights),
        ("conditioning", &none, json!({"conditioning": "none", "ssl_dim": 0}), OtherWeights),
        ("spectral_norm", &cbn, json!({"spectral_norm": true}), OtherWeights),
        ("spectral_norm", &none, json!({"spectral_norm": true}), Refused("spectral_norm")),
        ("diffusion_steps", &none, json!({"diffusion_steps": 500}), Others),
        ("noise_schedule", &none, json!({"noise_schedule": "cosine"}), Others),
        ("noise_schedule", &none, json!({"noise_schedule": "sqrt"}), Refused("noise_schedule")),
        ("predict_xstart", &none, json!({"predict_xstart": true}), Others),
        ("rescale_timesteps", &long, json!({"rescale_timesteps": true}), Others),
        // 1000 steps are rescaled to 1000.
        ("rescale_timesteps", &none, json!({"rescale_timesteps": true}), Same),
    ];
    for (_, given, changed, expect) in &cases {
        let given = with(&config, given);
        assert_changes(&given, &with(&given, changed), expect);
    }
    let fields = fields!(UnetConfig {
        image_size,
        small_size,
        num_channels,
        num_res_blocks,
        num_heads,
        num_heads_upsample,
        num_head_channels,
        attention_resolutions,
        channel_mult,
        class_cond,
        num_classes,
        use_scale_shift_norm,
        resblock_updown,
        use_new_attention_order,
        learn_sigma,
        ssl_dim,
        conditioning,
        spectral_norm,
        diffusion_steps,
        noise_schedule,
        predict_xstart,
        rescale_timesteps,
    });
    assert_every_field_has_a_case(&fields, &cases.iter().map(|(flag, ..)| *flag).collect::<Vec<_>>());
    // Flags for training and for the training machine.
    let others = json!({"dropout": 0.1, "use_fp16": true, "use_checkpoint": true, "use_kl": true});
    assert_changes(&config, &with(&config, &others), &Same);
}

/// Tests the flags that have another meaning in an upsampler's configuration.
#[test]
fn flags_of_an_upsampler_change_what_they_should() {
    let config = json!({
        "small_size": 4, "large_size": 8, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
        "attention_resolutions": "4", "learn_sigma": true,
    });
    for (changed, expect) in [
        (json!({"small_size": 2}), Others),
        (json!({"small_size": 0}), Refused("small_size")),
        (json!({"large_size": 16, "attention_resolutions": "8"}), Others),
        (json!({"image_size": 8}), Same),
        (json!({"image_size": 16}), Refused("image_size")),
        (json!({"num_classes": 7}), OtherWeights),
        (json!({"num_classes": 7, "class_cond": false}), Same),
        (json!({"ssl_dim": 6, "conditioning": "time_embedding"}), Refused("ssl_dim")),
    ] {
        assert_changes(&config, &with(&config, &changed), &expect);
    }
    let classes = with(&config, &json!({"num_classes": 7}));
    assert_changes(&classes, &with(&classes, &json!({"num_classes": 8})), &OtherWeights);
}
