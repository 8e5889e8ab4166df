//! Derives the configurations of encoders.

use percept::models::ResNetConfig;
use percept::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Config, Shapes, merged};

/// The number of channels of an attention head in the transformers of DINO, timm and DINOv2, at every size.
const HEAD_CHANNELS: usize = 64;

/// Derives the configuration of a ResNet by counting its blocks. If they are those of a known architecture, the
/// configuration names it.
pub fn resnet(shapes: &Shapes<'_>, given: &Map<String, Value>) -> Result<Config> {
    let block = if shapes.has("layer1.0.conv3.weight") { "bottleneck" } else { "basic" };
    let stages = (1..).map(|stage| shapes.count(&format!("layer{stage}."))).take_while(|&blocks| blocks > 0);
    let layers: Vec<usize> = stages.collect();
    let width = shapes.dim("conv1.weight", 0)?;
    let inner = shapes.dim("layer1.0.conv2.weight", 0)?;
    let named = ResNetConfig::ARCHITECTURES.into_iter().find(|name| {
        ResNetConfig::named(name).is_ok_and(|config| {
            let kind = format!("{:?}", config.block).to_lowercase();
            (kind.as_str(), &config.layers, config.width) == (block, &layers, width)
                && inner == width * config.width_per_group / 64
        })
    });
    let known = match named {
        Some(arch) => json!({"arch": arch}),
        None if inner == width => json!({"block": block, "layers": layers, "width": width}),
        None => {
            let expected = format!("{width} channels, or twice as many in torchvision's wide ResNets");
            return Err(Error::file("layer1.0.conv2.weight", expected, inner));
        }
    };
    finish(known, given, &["arch", "block", "layers", "width"], Vec::new())
}

/// Derives the configuration of a vision transformer. The tensors do not determine the number of heads: by
/// convention, each head has 64 channels.
pub fn vit(shapes: &Shapes<'_>, given: &Map<String, Value>) -> Result<Config> {
    let dim = shapes.dim("patch_embed.proj.weight", 0)?;
    let patch = shapes.dim("patch_embed.proj.weight", 3)?;
    let positions = shapes.dim("pos_embed", 1)?;
    // A square of patches, plus the class token.
    let side = positions.saturating_sub(1).isqrt();
    if side * side + 1 != positions {
        return Err(Error::file("pos_embed", "positions of a square of patches and a class token", positions));
    }
    let Some(image_size) = side.checked_mul(patch) else {
        return Err(Error::file("patch_embed.proj.weight", "patches of an image", format!("{patch} pixels wide")));
    };
    let mut known = json!({
        "patch": patch,
        "dim": dim,
        "depth": shapes.count("blocks."),
        "image": image_size,
    });
    if shapes.has("register_tokens") {
        known["registers"] = shapes.dim("register_tokens", 1)?.into();
    }
    if shapes.has("blocks.0.ls1.gamma") {
        known["layer_scale"] = true.into();
    }
    let mut notes = Vec::new();
    // DINOv2 with registers and timm resize positions differently from DINO.
    if !given.contains_key("pos_embed") && (shapes.has("register_tokens") || shapes.has("head.weight")) {
        known["pos_embed"] = "antialias".into();
        notes.push(
            "positions for other image sizes by antialiased resizing, as DINOv2 with registers and timm do".into(),
        );
    }
    if !given.contains_key("heads") {
        if !dim.is_multiple_of(HEAD_CHANNELS) {
            let expected = "heads in --config, for they are not in the weights";
            return Err(Error::config("heads", expected, format!("nothing, with {dim} channels")));
        }
        known["heads"] = (dim / HEAD_CHANNELS).into();
        notes.push(format!(
            "{} heads: {HEAD_CHANNELS} channels each, as in all of DINO's and timm's",
            dim / HEAD_CHANNELS
        ));
    }
    let allowed =
        ["arch", "patch", "dim", "depth", "heads", "ln_eps", "image", "pos_embed", "registers", "layer_scale"];
    finish(known, given, &allowed, notes)
}

/// Combines the known and the given values into one configuration.
pub fn finish(known: Value, given: &Map<String, Value>, allowed: &[&str], notes: Vec<String>) -> Result<Config> {
    let Value::Object(known) = known else { return Err(Error::config("config", "an object", known)) };
    let json = Value::Object(merged(known, given, allowed)?).to_string();
    Ok(Config { json, notes, preset: None })
}
