//! Tests that errors of invalid configurations name the field, its valid values and the given value.

use percept::models::{
    BlockKind, ClassifierConfig, Conditioning, HeadConfig, Pool, ResNetConfig, UnetConfig, VitConfig, layout,
};
use percept::weights::Resizing;
use percept::{Error, Result};

/// Returns the parts of a configuration error.
#[track_caller]
fn refused<T>(json: &str, result: Result<T>) -> [String; 3] {
    match result {
        Err(Error::Config(mismatch)) => [mismatch.at, mismatch.expected, mismatch.got],
        Err(other) => panic!("{json}: not a configuration's error: {other}"),
        Ok(_) => panic!("{json}: taken"),
    }
}

/// Asserts that each case is refused. A case has the JSON, the named field, and words of the expected and of
/// the given value.
fn assert_refused<T>(parse: impl Fn(&str) -> Result<T>, cases: &[(&str, &str, &str, &str)]) {
    for (json, at, expected, got) in cases {
        let told = refused(json, parse(json));
        assert_eq!(told[0], *at, "{json}: {told:?}");
        assert!(told[1].contains(expected), "{json}: {told:?} does not say {expected:?}");
        assert!(told[2].contains(got), "{json}: {told:?} does not say {got:?}");
    }
}

#[test]
fn unets_that_cannot_be() {
    let json = "percept.config of a unet";
    let flags = "a JSON object of the model's flags";
    let list = "up to 16 numbers in (0, 64] separated by commas";
    let sizes = "sizes of feature maps in pixels, separated by commas";
    let only_with = "above 0 exactly where a representation conditions the UNet";
    assert_refused(
        UnetConfig::from_json,
        &[
            ("", json, flags, "EOF"),
            ("image_size: 64", json, flags, "line 1"),
            ("[64]", json, flags, "an array"),
            (r#"{"image_size": -64}"#, json, flags, "-64"),
            (r#"{"image_size": "64"}"#, json, flags, "string"),
            (r#"{"conditioning": "film"}"#, json, flags, "film"),
            (r#"{"image_size": 0}"#, "image_size", "1 to 4096", "0"),
            (r#"{"image_size": 4097}"#, "image_size", "1 to 4096", "4097"),
            (r#"{"num_channels": 0}"#, "num_channels", "1 to 4096", "0"),
            (r#"{"num_heads": 0}"#, "num_heads", "1 to 4096", "0"),
            (r#"{"diffusion_steps": 0}"#, "diffusion_steps", "1 or more", "0"),
            (r#"{"num_res_blocks": 65}"#, "num_res_blocks", "0 to 64", "65"),
            (r#"{"num_head_channels": 0}"#, "num_head_channels", "-1, or a number above 0", "0"),
            (r#"{"num_head_channels": -2}"#, "num_head_channels", "-1, or a number above 0", "-2"),
            (r#"{"num_heads_upsample": 0}"#, "num_heads_upsample", "-1, or a number above 0", "0"),
            (r#"{"ssl_dim": 64}"#, "ssl_dim", only_with, "ssl_dim 64 with None"),
            (r#"{"conditioning": "cbn"}"#, "ssl_dim", only_with, "ssl_dim 0 with Cbn"),
            (
                r#"{"conditioning": "time_embedding", "ssl_dim": 8, "spectral_norm": true}"#,
                "spectral_norm",
                "true only with conditioning \"cbn\"",
                "true",
            ),
            (r#"{"channel_mult": "1,x"}"#, "channel_mult", list, "1,x"),
            (r#"{"channel_mult": "1,,2"}"#, "channel_mult", list, "1,,2"),
            (r#"{"channel_mult": "1,0"}"#, "channel_mult", list, "1,0"),
            (r#"{"channel_mult": "65"}"#, "channel_mult", list, "65"),
            (r#"{"channel_mult": "NaN"}"#, "channel_mult", list, "NaN"),
            (r#"{"channel_mult": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"}"#, "channel_mult", list, "1,1,1"),
            (r#"{"image_size": 32}"#, "channel_mult", "only 64, 128, 256 and 512 have one", "images of 32"),
            (r#"{"num_channels": 48}"#, "channel_mult", "that 32 groups divide", "48 channels"),
            (r#"{"channel_mult": "1,0.3"}"#, "channel_mult", "that 32 groups divide", "38 channels"),
            (
                r#"{"image_size": 36, "channel_mult": "1,2,2,2"}"#,
                "image_size",
                "a multiple of 8, for 4 resolutions",
                "36",
            ),
            (r#"{"large_size": 64}"#, "small_size", "the size of the image that an upsampler", "beside large_size 64"),
            (r#"{"small_size": 16}"#, "large_size", "the size of what an upsampler makes", "none"),
            (r#"{"small_size": 16, "large_size": 64, "image_size": 128}"#, "image_size", "large_size, 64", "128"),
            (r#"{"small_size": 4097, "large_size": 64}"#, "small_size", "1 to 4096", "4097"),
            (r#"{"small_size": 16, "large_size": 0}"#, "image_size", "1 to 4096", "0"),
            (r#"{"attention_resolutions": "16,x"}"#, "attention_resolutions", sizes, "16,x"),
            (r#"{"attention_resolutions": ""}"#, "attention_resolutions", sizes, ""),
            (r#"{"attention_resolutions": "0"}"#, "attention_resolutions", sizes, "0"),
        ],
    );
    // Heads that do not divide the channels are found when the layers are laid out.
    assert_refused(
        |json| layout(&UnetConfig::from_json(json)?),
        &[
            (r#"{"num_heads": 3}"#, "num_heads", "a divisor of 512 channels", "input_blocks.10.1"),
            (r#"{"num_head_channels": 100}"#, "num_head_channels", "a divisor of 384 channels", "input_blocks.7.1"),
            (r#"{"num_heads_upsample": 7}"#, "num_heads", "a divisor of 512 channels", "output_blocks.0.1"),
        ],
    );
}

#[test]
fn unets_have_guided_diffusions_defaults() {
    let config = UnetConfig::from_json(r#"{"dropout": 0.1, "use_fp16": false}"#).expect("a configuration");
    assert_eq!(config, UnetConfig::default());
    assert_eq!((config.image_size, config.num_channels, config.out_channels(), config.classes()), (64, 128, 3, 0));
    assert_eq!(config.channels(), Ok(vec![128, 256, 384, 512]));
    assert_eq!(config.attention_divisors(), Ok(vec![4, 8]));
    assert_eq!(config.time_embed_dim(), 512);
    assert_eq!(config.conditioning, Conditioning::None);
    // The sizes that have their own multipliers.
    for (size, multiples) in [(64, &[2, 4, 6, 8][..]), (128, &[2, 2, 4, 6, 8]), (256, &[2, 2, 4, 4, 8, 8])] {
        let config = UnetConfig::from_json(&format!(r#"{{"image_size": {size}}}"#)).expect("a configuration");
        assert_eq!(config.channels().expect("channels"), multiples.iter().map(|m| m * 64).collect::<Vec<_>>());
    }
    let of = |json: &str| UnetConfig::from_json(json).expect("a configuration");
    assert_eq!(of(r#"{"image_size": 512}"#).channels(), Ok(vec![64, 128, 128, 256, 256, 512, 512]));
    assert_eq!(of(r#"{"class_cond": true}"#).classes(), 1000);
    assert_eq!(of(r#"{"class_cond": true, "num_classes": 10, "learn_sigma": true}"#).classes(), 10);
    assert_eq!(of(r#"{"learn_sigma": true}"#).out_channels(), 6);
}

#[test]
fn upsamplers_are_read_under_either_name_of_their_size() {
    let of = |json: &str| UnetConfig::from_json(json).expect("a configuration");
    // Flags as guided-diffusion names them, with classes given by their number, and as converted files have
    // them.
    let golden = of(r#"{"small_size": 16, "large_size": 64, "num_classes": 7}"#);
    let file = r#"{"image_size": 64, "small_size": 16, "large_size": 64, "class_cond": true, "num_classes": 7}"#;
    assert_eq!(golden, of(file));
    assert_eq!((golden.image_size, golden.small_size, golden.classes()), (64, 16, 7));
    // A written configuration is read again unchanged. Only upsamplers write a small size.
    let written = serde_json::to_string(&golden).expect("JSON");
    assert_eq!(of(&written), golden);
    assert!(!serde_json::to_string(&UnetConfig::default()).expect("JSON").contains("small_size"));
    for no_classes in [r#""class_cond": false, "num_classes": 7"#, r#""class_cond": false"#, r#""num_classes": 0"#] {
        assert_eq!(
            of(&format!(r#"{{"small_size": 16, "large_size": 64, {no_classes}}}"#)).classes(),
            0,
            "{no_classes}"
        );
    }
    assert_eq!(of(r#"{"small_size": 16, "large_size": 64, "class_cond": true}"#).classes(), 1000);
    let large = of(r#"{"small_size": 128, "large_size": 512, "num_channels": 192}"#);
    assert_eq!(large.channels(), Ok(vec![192, 192, 384, 384, 768, 768]));
}

#[test]
fn classifiers_that_cannot_be() {
    let json = "percept.config of a classifier";
    let flags = "a JSON object of the model's flags";
    assert_refused(
        ClassifierConfig::from_json,
        &[
            ("", json, flags, "EOF"),
            ("[64]", json, flags, "an array"),
            // The one of guided-diffusion's poolings that no released classifier has.
            (r#"{"pool": "spatial_v2"}"#, json, flags, "spatial_v2"),
            (r#"{"out_channels": 0}"#, "out_channels", "1 to 65536", "0"),
            (r#"{"out_channels": 65537}"#, "out_channels", "1 to 65536", "65537"),
            (r#"{"num_head_channels": -1}"#, "num_head_channels", "above 0, for pool \"attention\"", "-1"),
            (r#"{"num_head_channels": 0}"#, "num_head_channels", "-1, or a number above 0", "0"),
            (r#"{"image_size": 0}"#, "image_size", "1 to 4096", "0"),
            (r#"{"num_channels": 48}"#, "channel_mult", "that 32 groups divide", "48 channels"),
        ],
    );
    let pooled = ClassifierConfig::from_json(r#"{"pool": "adaptive", "num_head_channels": -1}"#);
    assert_eq!(pooled.map(|config| config.pool), Ok(Pool::Adaptive));
    assert_eq!(ClassifierConfig::from_json("{}"), Ok(ClassifierConfig::default()));
}

#[test]
fn resnets_that_cannot_be() {
    let json = "percept.config of a resnet";
    let flags = "a JSON object of the model's flags";
    let sizes = "1 to 8 stages of 1 to 256 blocks, width 1 to 4096";
    assert_refused(
        ResNetConfig::from_json,
        &[
            ("{", json, flags, "EOF"),
            (r#"{"block": "inverted", "layers": [1]}"#, json, flags, "inverted"),
            (r#"{"block": "basic", "layers": [-1]}"#, json, flags, "-1"),
            (r#"{"block": "basic", "layers": 4}"#, json, flags, "4"),
            ("{}", json, "\"arch\", or \"block\" and \"layers\"", "neither"),
            (r#"{"block": "basic"}"#, json, "\"arch\", or \"block\" and \"layers\"", ""),
            (r#"{"block": "basic", "layers": []}"#, json, sizes, "layers []"),
            (r#"{"block": "basic", "layers": [1,1,1,1,1,1,1,1,1]}"#, json, sizes, "1, 1, 1"),
            (r#"{"block": "basic", "layers": [2, 0]}"#, json, sizes, "layers [2, 0]"),
            (r#"{"block": "basic", "layers": [2, 257]}"#, json, sizes, "layers [2, 257]"),
            (r#"{"block": "basic", "layers": [2], "width": 0}"#, json, sizes, "width 0"),
            (r#"{"block": "basic", "layers": [2], "width": 4097}"#, json, sizes, "width 4097"),
            (r#"{"arch": "resnet49"}"#, "arch", "resnet18, 34, 50, 101 or 152, wide_resnet50_2", "resnet49"),
            (r#"{"arch": "vit_small"}"#, "arch", "wide_resnet101_2", "vit_small"),
        ],
    );
}

#[test]
fn resnets_have_the_widths_of_their_kind() {
    let cases = [
        (r#"{"arch": "resnet18"}"#, 512),
        (r#"{"arch": "resnet34"}"#, 512),
        (r#"{"arch": "resnet50"}"#, 2048),
        (r#"{"arch": "resnet101"}"#, 2048),
        (r#"{"arch": "resnet152"}"#, 2048),
        (r#"{"arch": "wide_resnet50_2"}"#, 2048),
        (r#"{"block": "basic", "layers": [1, 1, 1, 1], "width": 32}"#, 256),
        (r#"{"block": "basic", "layers": [3, 4, 6, 3]}"#, 512),
        (r#"{"block": "bottleneck", "layers": [1, 1], "width": 8}"#, 64),
    ];
    for (json, trunk) in cases {
        assert_eq!(ResNetConfig::from_json(json).expect(json).trunk_dim(), trunk, "{json}");
    }
    let named = ResNetConfig::named("resnet50").expect("an architecture");
    assert_eq!(ResNetConfig::from_json(r#"{"block": "bottleneck", "layers": [3, 4, 6, 3]}"#), Ok(named.clone()));
    assert_eq!((named.block, named.width), (BlockKind::Bottleneck, 64));
}

#[test]
fn vits_that_cannot_be() {
    let json = "percept.config of a vit";
    let flags = "a JSON object of the model's flags";
    let with = |field: &str, value: &str| {
        let mut vit = serde_json::json!({"patch": 16, "dim": 192, "depth": 12, "heads": 3, "image": 224});
        vit[field] = serde_json::from_str(value).expect("JSON");
        vit.to_string()
    };
    let cases = [
        ("patch", "0", "patch", "1 to 256", "0"),
        ("patch", "257", "patch", "1 to 256", "257"),
        ("patch", "-16", json, flags, "-16"),
        ("dim", "0", "dim", "1 to 16384", "0"),
        ("depth", "12.5", json, flags, "12.5"),
        ("depth", "257", "depth", "1 to 256", "257"),
        ("heads", "0", "heads", "1 to 1024", "0"),
        ("heads", "5", "heads", "a number that divides dim, 192", "5"),
        ("image", "220", "image", "a multiple of patch, 16", "220"),
        ("image", "0", "image", "1 to 8192", "0"),
        ("native_image", "224", json, flags, "duplicate field"),
        ("registers", "1025", "registers", "0 to 1024", "1025"),
        ("layer_scale", "1", json, flags, "1"),
        ("ln_eps", "-1e-6", "ln_eps", "0 or more", "-0.000001"),
        ("ln_eps", "1e99", "ln_eps", "less than 1", "inf"),
        ("pos_embed", "\"rope\"", json, flags, "rope"),
    ];
    for (field, value, at, expected, got) in cases {
        assert_refused(VitConfig::from_json, &[(&with(field, value), at, expected, got)]);
    }
    let of_resnet = r#"{"arch": "resnet50"}"#;
    assert_refused(VitConfig::from_json, &[("[]", json, flags, "array"), (of_resnet, json, flags, "missing field")]);
}

#[test]
fn vits_are_written_as_they_are_read() {
    let golden = r#"{"arch": "dinov2", "patch": 14, "dim": 192, "depth": 3, "heads": 3, "ln_eps": 1e-06,
        "native_image": 518, "registers": 4, "layer_scale": true, "pos_embed": "dino"}"#;
    let config = VitConfig::from_json(golden).expect("a configuration");
    let want = VitConfig {
        patch: 14,
        dim: 192,
        depth: 3,
        heads: 3,
        image: 518,
        ln_eps: 1e-6,
        registers: 4,
        layer_scale: true,
        pos_embed: Resizing::Dino,
    };
    assert_eq!((&config, config.grid()), (&want, 37));
    let written = r#"{"patch":14,"dim":192,"depth":3,"heads":3,"image":518,"registers":4,"layer_scale":true}"#;
    assert_eq!(serde_json::to_string(&config).expect("JSON"), written);
    let other = VitConfig { ln_eps: 1e-5, registers: 0, layer_scale: false, pos_embed: Resizing::Antialias, ..want };
    let written = serde_json::to_string(&other).expect("JSON");
    assert!(written.ends_with(r#""ln_eps":0.00001,"pos_embed":"antialias"}"#), "{written}");
    assert_eq!(VitConfig::from_json(&written), Ok(other));
}

#[test]
fn heads_that_cannot_be() {
    let json = "percept.config of a head";
    let flags = "a JSON object of the model's flags";
    assert_refused(
        HeadConfig::from_json,
        &[
            ("", json, flags, "EOF"),
            (r#"{"dims": [8, 8]}"#, json, flags, "head"),
            (r#"{"head": "vicreg"}"#, json, flags, "dims"),
            (r#"{"head": "moco", "dims": [8, 8]}"#, json, flags, "moco"),
            (r#"{"head": "vicreg", "dims": [8, -8]}"#, json, flags, "-8"),
            (r#"{"head": "vicreg", "dims": []}"#, "dims", "two or more widths above 0", "[]"),
            (r#"{"head": "vicreg", "dims": [8]}"#, "dims", "two or more widths above 0", "[8]"),
            (r#"{"head": "vicreg", "dims": [8, 0, 8]}"#, "dims", "two or more widths above 0", "[8, 0, 8]"),
        ],
    );
    let head = HeadConfig::from_json(r#"{"head": "swav", "dims": [2048, 2048, 128]}"#).expect("a head");
    assert_eq!((head.in_dim(), head.out_dim()), (2048, 128));
}

/// Tests values at the limits that the tests above name, which are still valid.
#[test]
fn limits_themselves_are_taken() {
    #[track_caller]
    fn assert_taken<T>(parse: impl Fn(&str) -> Result<T>, cases: &[&str]) {
        for json in cases {
            if let Err(error) = parse(json) {
                panic!("{json}: {error}");
            }
        }
    }
    assert_taken(
        UnetConfig::from_json,
        &[
            r#"{"image_size": 4096, "channel_mult": "1"}"#,
            r#"{"image_size": 1, "channel_mult": "1"}"#,
            r#"{"image_size": 24, "channel_mult": "1,2,2,2"}"#,
            r#"{"num_channels": 4096, "num_heads": 4096}"#,
            r#"{"num_channels": 32, "num_heads": 1, "num_heads_upsample": 1}"#,
            r#"{"num_res_blocks": 64, "num_head_channels": 1}"#,
            r#"{"num_res_blocks": 0, "diffusion_steps": 1}"#,
            r#"{"channel_mult": "64"}"#,
            r#"{"channel_mult": "0.25", "num_channels": 128}"#,
            r#"{"small_size": 4096, "large_size": 4096, "channel_mult": "1"}"#,
            r#"{"small_size": 1, "large_size": 64}"#,
        ],
    );
    // No image has as many resolutions as a list may have numbers.
    let many = UnetConfig { channel_mult: ["1"; 16].join(","), ..UnetConfig::default() };
    assert_eq!(many.channels(), Ok(vec![128; 16]));
    assert_taken(ClassifierConfig::from_json, &[r#"{"out_channels": 1}"#, r#"{"out_channels": 65536}"#]);
    let resnets = [(1, 1, 1), (8, 256, 4096)].map(|(stages, blocks, width)| {
        serde_json::json!({"block": "basic", "layers": vec![blocks; stages], "width": width}).to_string()
    });
    assert_taken(ResNetConfig::from_json, &resnets.each_ref().map(String::as_str));
    assert_taken(
        VitConfig::from_json,
        &[
            r#"{"patch": 1, "dim": 1, "depth": 1, "heads": 1, "image": 1, "registers": 0, "ln_eps": 0}"#,
            r#"{"patch": 256, "dim": 16384, "depth": 256, "heads": 1024, "image": 8192, "registers": 1024}"#,
        ],
    );
    assert_taken(HeadConfig::from_json, &[r#"{"head": "byol", "dims": [1, 1]}"#]);
}

#[test]
fn numbers_above_the_limits_of_vits_are_refused() {
    let vit = |field: &str, value: usize| {
        let mut json = serde_json::json!({"patch": 16, "dim": 192, "depth": 12, "heads": 3, "image": 224});
        json[field] = value.into();
        json.to_string()
    };
    for (field, most) in [("dim", 16_384), ("heads", 1024), ("image", 8192)] {
        let told = refused(field, VitConfig::from_json(&vit(field, most + 1)));
        assert_eq!([told[0].as_str(), told[2].as_str()], [field, (most + 1).to_string().as_str()]);
    }
}
