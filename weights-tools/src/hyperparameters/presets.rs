//! The flags of released diffusion models, from the READMEs of guided-diffusion
//! (<https://github.com/openai/guided-diffusion>) and RCDM (<https://github.com/facebookresearch/RCDM>).

use percept::{Error, Result};
use serde_json::{Map, Value};

/// The names of the presets, and their flags as JSON.
pub const PRESETS: [(&str, &str); 8] = [
    (
        "rcdm-128",
        r#"{"image_size": 128, "num_channels": 256, "num_res_blocks": 2, "num_heads": 4, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": false, "conditioning": "time_embedding"}"#,
    ),
    (
        "adm-64",
        r#"{"image_size": 64, "num_channels": 192, "num_res_blocks": 3, "num_head_channels": 64, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none", "noise_schedule": "cosine",
            "use_new_attention_order": true}"#,
    ),
    (
        "adm-128",
        r#"{"image_size": 128, "num_channels": 256, "num_res_blocks": 2, "num_heads": 4, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none"}"#,
    ),
    (
        "adm-256",
        r#"{"image_size": 256, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none"}"#,
    ),
    (
        "adm-256-uncond",
        r#"{"image_size": 256, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": false, "conditioning": "none"}"#,
    ),
    (
        "adm-512",
        r#"{"image_size": 512, "num_channels": 256, "num_res_blocks": 2, "num_head_channels": 64, "resblock_updown": true,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none"}"#,
    ),
    (
        "upsampler-64-256",
        r#"{"small_size": 64, "large_size": 256, "num_channels": 192, "num_res_blocks": 2, "num_heads": 4,
            "channel_mult": "1,1,2,2,4,4", "attention_resolutions": "32,16,8", "resblock_updown": true,
            "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none"}"#,
    ),
    (
        "upsampler-128-512",
        r#"{"small_size": 128, "large_size": 512, "num_channels": 192, "num_res_blocks": 2, "num_head_channels": 64,
            "channel_mult": "1,1,2,2,4,4", "attention_resolutions": "32,16", "resblock_updown": true,
            "use_scale_shift_norm": true, "learn_sigma": true,
            "class_cond": true, "conditioning": "none"}"#,
    ),
];

/// The same for guided-diffusion's classifiers of noisy images. The flags are guided-diffusion's defaults for
/// classifiers.
pub const CLASSIFIERS: [(&str, &str); 4] = [
    (
        "classifier-64",
        r#"{"image_size": 64, "num_channels": 128, "num_res_blocks": 4, "num_head_channels": 64,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "resblock_updown": true, "pool": "attention"}"#,
    ),
    (
        "classifier-128",
        r#"{"image_size": 128, "num_channels": 128, "num_res_blocks": 2, "num_head_channels": 64,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "resblock_updown": true, "pool": "attention"}"#,
    ),
    (
        "classifier-256",
        r#"{"image_size": 256, "num_channels": 128, "num_res_blocks": 2, "num_head_channels": 64,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "resblock_updown": true, "pool": "attention"}"#,
    ),
    (
        "classifier-512",
        r#"{"image_size": 512, "num_channels": 128, "num_res_blocks": 2, "num_head_channels": 64,
            "attention_resolutions": "32,16,8", "use_scale_shift_norm": true, "resblock_updown": true, "pool": "attention"}"#,
    ),
];

/// Returns the flags of a preset.
///
/// # Errors
/// Returns [`Error::Config`], which lists the existing names, if there is no such preset.
pub fn preset(name: &str) -> Result<Map<String, Value>> {
    let all = || PRESETS.iter().chain(&CLASSIFIERS);
    let named = all().find(|(other, _)| *other == name);
    let flags = named.and_then(|(_, flags)| serde_json::from_str(flags).ok());
    flags.ok_or_else(|| {
        let names: Vec<&str> = all().map(|(name, _)| *name).collect();
        Error::config("--preset", format!("one of {}", names.join(", ")), name)
    })
}
