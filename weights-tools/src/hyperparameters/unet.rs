//! Derives the configurations of guided-diffusion's UNets.
//!
//! Names and shapes determine nearly everything. The exceptions are the image size (the network is convolutional),
//! the division of channels into attention heads, and the whole diffusion process. A wrong guess of these would
//! give finite but wrong results, so they come from a preset or from the user.

use percept::models::UnetConfig;
use percept::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Config, Given, PRESETS, Shapes, check_flag, contradiction, preset};
use crate::layouts::Kind;

/// The flags that `--config` may have.
const FLAGS: [&str; 23] = [
    "image_size",
    "num_channels",
    "num_res_blocks",
    "num_heads",
    "num_heads_upsample",
    "num_head_channels",
    "attention_resolutions",
    "channel_mult",
    "class_cond",
    "num_classes",
    "use_scale_shift_norm",
    "resblock_updown",
    "use_new_attention_order",
    "learn_sigma",
    "ssl_dim",
    "conditioning",
    "spectral_norm",
    "diffusion_steps",
    "noise_schedule",
    "predict_xstart",
    "rescale_timesteps",
    "small_size",
    "large_size",
];
/// The flags of guided-diffusion that change training or sampling, but not the model.
const WITHOUT_EFFECT: [&str; 6] =
    ["dropout", "use_checkpoint", "use_fp16", "use_kl", "timestep_respacing", "rescale_learned_sigmas"];

/// The values that the tensors determine.
struct Known {
    /// Flags and their values.
    flags: Map<String, Value>,
    /// The number of channels at each resolution.
    channels: Vec<usize>,
    /// The factors by which the feature maps with attention are smaller than the image.
    attention: Vec<usize>,
}

/// Determines the configuration of a UNet.
pub fn config(shapes: &Shapes<'_>, kind: Kind, given: &Given) -> Result<Config> {
    let known = Known::of(shapes)?;
    let (flags, preset, mut notes) = match &given.preset {
        Some(name) => (preset(name)?, PRESETS.iter().map(|(other, _)| *other).find(|other| other == name), Vec::new()),
        None if given.flags.is_empty() => match released(&known, kind) {
            Some((name, flags)) => (flags, Some(name), vec![format!("preset {name}: its tensors are these")]),
            None => (Map::new(), None, Vec::new()),
        },
        None => (Map::new(), None, Vec::new()),
    };
    let mut flags = flags;
    for (flag, value) in &given.flags {
        if WITHOUT_EFFECT.contains(&flag.as_str()) {
            continue;
        }
        check_flag(flag, &FLAGS)?;
        flags.insert(flag.clone(), value.clone());
    }
    let has = |flag: &str| flags.contains_key(flag);
    let size = if kind == Kind::Superres { "large_size" } else { "image_size" };
    let missing: Vec<&str> = [
        (size, has(size)),
        ("num_heads or num_head_channels", has("num_heads") || has("num_head_channels")),
        ("small_size", has("small_size") || kind != Kind::Superres),
    ]
    .into_iter()
    .filter_map(|(flag, is_there)| (!is_there).then_some(flag))
    .collect();
    if !missing.is_empty() {
        let expected = format!("{}: the weights do not tell; give --preset, or --config with them", missing.join(", "));
        return Err(Error::config("configuration of the unet", expected, "nothing"));
    }
    let config = known.checked(flags, kind)?;
    if preset.is_none() {
        notes.extend(assumed(&given.flags));
    }
    Ok(Config { json: config.to_string(), notes, preset })
}

/// Lists guided-diffusion's defaults for the flags that were not given.
fn assumed(given: &Map<String, Value>) -> Option<String> {
    let defaults = json!({
        "noise_schedule": "linear",
        "diffusion_steps": 1000,
        "predict_xstart": false,
        "rescale_timesteps": false,
        "use_new_attention_order": false,
    });
    let defaults = defaults.as_object().into_iter().flatten();
    let flags: Vec<String> = defaults
        .filter(|(flag, _)| !given.contains_key(flag.as_str()))
        .map(|(flag, value)| format!("{flag} {value}"))
        .collect();
    (!flags.is_empty())
        .then(|| format!("guided-diffusion's defaults for what the weights do not tell: {}", flags.join(", ")))
}

/// Returns the released model that has these tensors, if there is exactly one.
fn released(known: &Known, kind: Kind) -> Option<(&'static str, Map<String, Value>)> {
    let is_upsampler = |name: &str| name.starts_with("upsampler");
    let fitting =
        PRESETS.iter().filter(|(name, _)| is_upsampler(name) == (kind == Kind::Superres)).filter_map(|(name, _)| {
            let flags = preset(name).ok()?;
            known.checked(flags.clone(), kind).ok()?;
            Some((*name, flags))
        });
    let fitting: Vec<_> = fitting.collect();
    <[_; 1]>::try_from(fitting).ok().map(|[only]| only)
}

impl Known {
    fn of(shapes: &Shapes<'_>) -> Result<Self> {
        let num_channels = shapes.dim("time_embed.0.weight", 1)?;
        if num_channels == 0 {
            return Err(Error::file("time_embed.0.weight", "one channel or more", 0));
        }
        let is_up = |block: usize| {
            let layer = |layer: usize, leaf: &str| shapes.has(&format!("output_blocks.{block}.{layer}.{leaf}"));
            // The layer that enlarges is the second of a block, or the third if attention precedes it.
            (1..3).any(|index| layer(index, "conv.weight") || layer(index, "in_layers.2.weight"))
        };
        let blocks = shapes.count("output_blocks.");
        let num_res_blocks = (0..blocks).find(|&block| is_up(block)).unwrap_or(blocks.saturating_sub(1));
        let levels = blocks / (num_res_blocks + 1);

        let first_of = |level: usize| 1 + level * (num_res_blocks + 1);
        let (mut channels, mut attention) = (Vec::new(), Vec::new());
        for level in 0..levels {
            let block = match num_res_blocks {
                // Without residual blocks, only the first layer and those that change the resolution are left.
                0 => "input_blocks.0.0".to_string(),
                _ => format!("input_blocks.{}.0.out_layers.3", first_of(level)),
            };
            channels.push(shapes.dim(&format!("{block}.weight"), 0)?);
            if shapes.has(&format!("input_blocks.{}.1.qkv.weight", first_of(level))) {
                attention.push(1 << level.min(32));
            }
        }
        let down = first_of(0) + num_res_blocks;
        let resblock_updown = shapes.has(&format!("input_blocks.{down}.0.in_layers.2.weight"));
        let block = "middle_block.0";
        let embedding = shapes.dim(&format!("{block}.emb_layers.1.weight"), 0)?;
        let use_scale_shift_norm = embedding != shapes.dim(&format!("{block}.out_layers.3.weight"), 0)?;

        let norm = "middle_block.0.out_layers.0";
        let is_conditional = shapes.has(&format!("{norm}.gain.weight"));
        let (conditioning, ssl_dim) = match (shapes.has("ssl_emb.weight"), is_conditional) {
            (true, _) => ("time_embedding", shapes.dim("ssl_emb.weight", 1)?),
            (_, true) if shapes.has("shared.weight") => ("cbn", shapes.dim("shared.weight", 1)?),
            (_, true) => ("cbn", shapes.dim(&format!("{norm}.gain.weight"), 1)?),
            (false, false) => ("none", 0),
        };
        let classes = if shapes.has("label_emb.weight") { shapes.dim("label_emb.weight", 0)? } else { 0 };
        let flags = json!({
            "num_channels": num_channels,
            "num_res_blocks": num_res_blocks,
            "class_cond": classes > 0,
            "num_classes": classes,
            "use_scale_shift_norm": use_scale_shift_norm,
            "resblock_updown": resblock_updown,
            "learn_sigma": shapes.dim("out.2.weight", 0)? == 6,
            "ssl_dim": ssl_dim,
            "conditioning": conditioning,
            "spectral_norm": shapes.has(&format!("{norm}.gain.u0")),
        });
        let flags = flags.as_object().cloned().unwrap_or_default();
        Ok(Known { flags, channels, attention })
    }

    /// Combines the given flags with those that the tensors determine. The two must not contradict each other.
    fn checked(&self, mut flags: Map<String, Value>, kind: Kind) -> Result<Value> {
        for (flag, of_weights) in &self.flags {
            match flags.insert(flag.clone(), of_weights.clone()) {
                // guided-diffusion has no flag for the number of classes, which is always ImageNet's.
                Some(given) if given != *of_weights && !(flag == "num_classes" && given == 0) => {
                    return Err(contradiction(flag, of_weights, &given));
                }
                _ => {}
            }
        }
        if kind == Kind::Superres {
            let size = flags.get("large_size").cloned().unwrap_or_default();
            flags.insert("image_size".into(), size);
        }
        let size = flags.get("image_size").and_then(Value::as_u64).unwrap_or(0) as usize;
        if !flags.contains_key("attention_resolutions") {
            flags.insert("attention_resolutions".into(), resolutions(size, &self.attention).into());
        }
        let num_channels = self.flags["num_channels"].as_u64().unwrap_or(1).max(1) as f64;
        let multiples: Vec<String> = self.channels.iter().map(|&channels| multiple(channels, num_channels)).collect();
        let listed = flags.entry("channel_mult").or_insert_with(|| multiples.join(",").into());
        let is_default = listed == "";
        let config = UnetConfig::from_json(&Value::Object(flags.clone()).to_string())?;
        if config.channels()? != self.channels {
            let given = if is_default { format!("guided-diffusion's own for {size}") } else { config.channel_mult };
            return Err(contradiction("channel_mult", &multiples.join(",").into(), &given.into()));
        }
        let divides = |divisor: usize| config.attention_divisors().is_ok_and(|listed| listed.contains(&divisor));
        let attention: Vec<usize> =
            (0..self.channels.len()).map(|level| 1 << level).filter(|&divisor| divides(divisor)).collect();
        if attention != self.attention {
            let of_weights = resolutions(size, &self.attention).into();
            return Err(contradiction("attention_resolutions", &of_weights, &config.attention_resolutions.into()));
        }
        let mut full = serde_json::to_value(&config).map_err(|error| Error::config("configuration", "JSON", error))?;
        if kind == Kind::Superres {
            full["large_size"] = flags["large_size"].clone();
        }
        Ok(full)
    }
}

/// Returns the sizes of the feature maps with attention: `32,16`. A UNet always has attention in its middle. If it
/// has none elsewhere, the result is a size that no feature map has.
fn resolutions(image_size: usize, divisors: &[usize]) -> String {
    if divisors.is_empty() {
        return "1".to_string();
    }
    let sizes: Vec<String> = divisors.iter().map(|divisor| (image_size / divisor).to_string()).collect();
    sizes.join(",")
}

/// Returns a number of channels as a multiple of `num_channels`, such as `2` or `0.5`. Readers multiply and
/// truncate, so the multiple is rounded up if it would give too few channels.
fn multiple(channels: usize, num_channels: f64) -> String {
    let multiple = channels as f64 / num_channels;
    let is_short = ((multiple * num_channels) as usize) < channels;
    if is_short { multiple.next_up().to_string() } else { multiple.to_string() }
}
