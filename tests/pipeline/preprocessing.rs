//! Tests the presets against the goldens and Pillow, to the byte, and the conversion to floats and back.

use std::fs;
use std::path::PathBuf;

use image::{Rgb, RgbImage};
use percept::Error;
use percept::Preprocessing;
use percept::images::open;
use percept::images::preprocessing::{MAX_INPUT_SIZE, to_image};
use safetensors::SafeTensors;

use crate::images::{expected, unhex};

fn rcdm(size: u32) -> Preprocessing {
    Preprocessing::new("rcdm", size).expect("a valid size")
}

/// Converts `[h, w, c]` to PyTorch's `[c, h, w]`.
fn planes<T: Copy>(pixels: &[T]) -> Vec<T> {
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
}

#[test]
fn crops_are_the_goldens() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens");
    for (name, preset, picture) in [
        ("preprocess_300x200", "rcdm", "300x200"),
        ("preprocess_600x731", "rcdm", "600x731"),
        ("preprocess_rcdm_300x200", "rcdm", "300x200"),
        ("preprocess_squash_300x200", "squash", "300x200"),
        ("preprocess_squash_600x731", "squash", "600x731"),
        ("preprocess_imagenet_300x200", "imagenet", "300x200"),
        ("preprocess_imagenet_600x731", "imagenet", "600x731"),
    ] {
        let image = open(folder.join(format!("preprocess_{picture}.png"))).expect("the golden's picture");
        let golden = fs::read(folder.join(format!("{name}.safetensors"))).expect("a golden");
        let golden = SafeTensors::deserialize(&golden).expect("a safetensors file");
        assert_eq!(golden.len(), 3);
        for (tensor, view) in golden.tensors() {
            let size: u32 = tensor.trim_start_matches(|letter: char| !letter.is_numeric()).parse().expect("a size");
            assert_eq!(view.shape(), [3, size as usize, size as usize]);
            let preprocessing = Preprocessing::new(preset, size).expect("a preset");
            let crop = preprocessing.crop(&image).expect("a crop");
            let got = match tensor.starts_with("out.crop") {
                true => planes(crop.as_raw()),
                // Identical bit for bit.
                false => planes(&preprocessing.to_input(&crop)).iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            assert!(got == view.data(), "{name} {tensor} differs");
        }
    }
}

/// Returns the pixels that data/make_data.py gives a picture of this size.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = width * 1000 + height;
    let bytes = (0..width * height * 3).map(|_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    });
    RgbImage::from_raw(width, height, bytes.collect()).expect("as many bytes")
}

#[test]
fn crops_of_all_shapes_are_pillows() {
    let expected = expected();
    let crops = expected["crops"].as_array().expect("crops");
    assert_eq!(crops.len(), 3 * 16);
    for case in crops {
        let [width, height, size] = ["width", "height", "size"].map(|key| case[key].as_u64().expect("a number") as u32);
        let preset = case["preset"].as_str().expect("a preset");
        let preprocessing = Preprocessing::new(preset, size).expect("a valid size");
        let crop = preprocessing.crop(&noise(width, height)).expect("a crop");
        assert_eq!(crop.dimensions(), (size, size));
        assert_eq!(crop.as_raw(), &unhex(&case["rgb"]), "{preset}: {width} x {height} to {size}");
    }
}

#[test]
fn a_long_strip_needs_little_memory() {
    // Its enlargement alone would have 16384 * 2048 * 2048 pixels.
    let strip = RgbImage::from_pixel(16_384, 1, Rgb([9, 8, 7]));
    for preset in Preprocessing::PRESETS {
        let crop = Preprocessing::new(preset, MAX_INPUT_SIZE).expect("a preset").crop(&strip).expect("a crop");
        assert_eq!(crop.dimensions(), (MAX_INPUT_SIZE, MAX_INPUT_SIZE));
        assert!(crop.pixels().all(|pixel| pixel.0 == [9, 8, 7]), "{preset}");
    }
}

#[test]
fn a_picture_without_pixels_is_an_error() {
    for (width, height) in [(0, 5), (5, 0)] {
        match rcdm(8).crop(&RgbImage::new(width, height)) {
            Err(Error::Image(mismatch)) => assert_eq!(mismatch.got, format!("{width} x {height}")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn presets_are_named_in_json() {
    let read = |json: &str| serde_json::from_str::<Preprocessing>(json).map_err(|e| e.to_string());
    let json = r#"{"preset":"rcdm","size":64}"#;
    let preprocessing = read(json).expect("a preset");
    assert_eq!(Preprocessing::from_json(json), Ok(preprocessing));
    assert_eq!((preprocessing.preset(), preprocessing.size()), ("rcdm", 64));
    for preset in Preprocessing::PRESETS {
        assert_eq!(Preprocessing::new(preset, 7).expect("a preset").to_string(), format!("{preset} at 7 pixels"));
    }
    assert_eq!(serde_json::to_string(&preprocessing).expect("JSON"), json);
    for (json, message) in [
        (
            r#"{"preset":"dino","size":64}"#,
            r#"preprocessing.preset: expected one of rcdm, squash, imagenet, got "dino""#,
        ),
        (r#"{"preset":"rcdm","size":0}"#, "preprocessing.size: expected 1 to 2048 pixels, got 0"),
        (r#"{"preset":"rcdm","size":2049}"#, "preprocessing.size: expected 1 to 2048 pixels, got 2049"),
        (r#"{"preset":"rcdm","size":64,"crop":1}"#, "unknown field `crop`"),
        (r#"{"preset":"rcdm"}"#, "missing field `size`"),
    ] {
        let error = read(json).expect_err(json);
        assert!(error.contains(message), "{json}: {error}");
        match Preprocessing::from_json(json) {
            Err(Error::Config(mismatch)) => assert!(mismatch.to_string().contains(message), "{json}: {mismatch}"),
            other => panic!("{json}: {other:?}"),
        }
    }
    assert!(matches!(Preprocessing::new("dino", 64), Err(Error::Config(_))));
    assert!(matches!(Preprocessing::new("rcdm", 0), Err(Error::Config(_))));
    assert!(Preprocessing::new("rcdm", MAX_INPUT_SIZE).is_ok());
}

#[test]
fn inputs_are_v_over_127_5_minus_1() {
    let image = RgbImage::from_raw(2, 1, vec![0, 255, 127, 128, 1, 254]).expect("six bytes");
    // Single precision, as PyTorch rounds it.
    let want = [-1.0, 1.0, -0.003_921_568_4, 0.003_921_628, -0.992_156_86, 0.992_156_86];
    assert_eq!(rcdm(1).to_input(&image), want);
}

#[test]
fn pictures_are_clamped_and_truncated() {
    let values = [-1.0, 1.0, 0.0, 0.999, -7.0, 7.0, f32::INFINITY, f32::NEG_INFINITY, 0.25];
    let picture = to_image(&values, 3, 1).expect("nine values");
    assert_eq!(picture.as_raw(), &[0, 255, 127, 254, 0, 255, 255, 0, 159]);
    // A conversion to floats and back loses at most one by truncation.
    let bytes = RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
    let back = to_image(&rcdm(1).to_input(&bytes), 256, 1).expect("as many values");
    assert!(bytes.as_raw().iter().zip(back.as_raw()).all(|(&a, &b)| a == b || a == b + 1));
}

#[test]
fn values_that_are_no_picture_are_errors() {
    match to_image(&[0.0, f32::NAN, 0.0], 1, 1) {
        Err(Error::NotFinite(mismatch)) => assert_eq!(mismatch.got, "NaN at index 1"),
        other => panic!("{other:?}"),
    }
    for count in [11, 13, 0] {
        match to_image(&vec![0.0; count], 2, 2) {
            Err(Error::Shape(mismatch)) => assert_eq!(mismatch.expected, "12 values for [2, 2, 3]"),
            other => panic!("{count}: {other:?}"),
        }
    }
    assert!(matches!(to_image(&[], u32::MAX, u32::MAX), Err(Error::Shape(_))));
}
