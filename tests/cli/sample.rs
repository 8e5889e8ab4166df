//! Tests the output of `percept sample`.

use std::path::PathBuf;

use percept::weights::OpenModel;

use crate::{Folder, asset};

/// Returns the text chunks of a PNG file, in order.
pub fn text_chunks(png: &[u8]) -> Vec<(String, String)> {
    let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("a PNG file");
    let mut chunks = Vec::new();
    while let [a, b, c, d, kind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (kind, data) = (&kind[..4], &kind[4..4 + length]);
        if kind == b"tEXt" {
            let text = String::from_utf8(data.to_vec()).expect("ASCII");
            let (keyword, text) = text.split_once('\0').expect("a keyword");
            chunks.push((keyword.to_owned(), text.to_owned()));
        }
        // A checksum follows the data.
        rest = &rest[4 + 4 + length + 4..];
    }
    chunks
}

/// Returns the shape of `arr_0` as numpy writes it, and its bytes.
pub fn arr_0(npz: &[u8]) -> (String, Vec<u8>) {
    let start = npz.windows(6).position(|bytes| bytes == b"\x93NUMPY").expect("an array");
    let header_length = u16::from_le_bytes([npz[start + 8], npz[start + 9]]) as usize;
    let data = start + 10 + header_length;
    let header = String::from_utf8_lossy(&npz[start + 10..data]);
    assert!(header.contains("'descr': '|u1'") && header.contains("'fortran_order': False"), "{header}");
    let (_, shape) = header.split_once("'shape': (").expect("a shape");
    let shape = shape.split_once(')').expect("a shape").0.to_owned();
    let length: usize = shape.split(", ").map(|side| side.parse::<usize>().expect("a number")).product();
    (shape, npz[data..data + length].to_vec())
}

fn picture(name: &str) -> PathBuf {
    asset("images").join(name)
}

#[test]
fn a_grid_says_how_it_was_made() {
    let folder = Folder::new();
    let line = "sample --samples 2 --steps 3 --seed 7 --sampler ddim --eta 0.5 -o grid.png";
    let printed = folder.percept_succeeds(line, &[picture("1_disc.png"), picture("4_star.png")]);
    assert!(printed.starts_with("grid.png: 2 pictures, 2 samples of each from trunk and head, "), "{printed}");
    assert_eq!(printed.lines().count(), 1);
    assert_eq!(folder.names(), ["grid.png"]);

    let grid = image::open(folder.path("grid.png")).expect("a picture").into_rgb8();
    // Five cells of 96 pixels with gaps are wider than this, and two rows are higher.
    assert!(grid.width() > 480 && grid.height() > 192, "{} x {}", grid.width(), grid.height());

    let chunks = text_chunks(&folder.read("grid.png"));
    let text = |keyword: &str| {
        let chunk = chunks.iter().find(|chunk| chunk.0 == keyword);
        chunk.unwrap_or_else(|| panic!("no {keyword} in {chunks:?}")).1.as_str()
    };
    assert!(text("Software").starts_with("percept "), "{chunks:?}");
    assert_eq!(text("seed"), "7");
    assert_eq!(text("sampler"), "ddim");
    assert_eq!(text("steps"), "ddim3");
    assert_eq!(text("eta"), "0.5");
    assert_eq!(text("samples"), "2");
    assert_eq!(text("pictures"), "1_disc.png\n4_star.png");
    let file = |role: &str, name: &str| {
        let model = OpenModel::open(asset(name)).expect("a model file");
        format!("{role} {name} sha256 {}", model.sha256())
    };
    let encoder = file("encoder", "encoder.safetensors");
    let trunk = [
        "name trunk",
        "layer trunk",
        "preprocessing rcdm at 64 pixels",
        "steps ddim3",
        &encoder,
        &file("decoder", "decoder_trunk.safetensors"),
    ];
    assert_eq!(text("bundle 1").lines().collect::<Vec<_>>(), trunk);
    let (head, decoder) = (file("head", "head.safetensors"), file("decoder", "decoder_head.safetensors"));
    let head = ["name head", "layer head", "preprocessing rcdm at 64 pixels", "steps ddim3", &encoder, &head, &decoder];
    assert_eq!(text("bundle 2").lines().collect::<Vec<_>>(), head);
}

#[test]
fn a_number_of_steps_is_a_stride_where_one_gives_it() {
    for (line, steps) in [
        ("--sampler ddim --steps 2", "ddim2"),
        ("--sampler ddim --steps 1", "1"),
        ("--sampler ddpm --steps 2", "2"),
        ("--sampler ddim --steps 1,0,2", "1,0,2"),
    ] {
        let folder = Folder::new();
        let line = format!("sample {line} --samples 1 --json");
        let printed = folder.percept_succeeds(&line, &[picture("1_disc.png")]);
        let json: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
        assert_eq!(json["bundles"][0]["steps"], steps, "{line}");
        assert_eq!(json["bundles"][1]["layer"], "head", "{line}");
        assert_eq!(json["file"], "percept.png", "{line}");
        assert_eq!(json["samples"], 1, "{line}");
        assert_eq!(json["seed"], 0, "{line}");
        assert_eq!(json["device"], "cpu", "{line}");
        assert!(json["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{line}");
        assert_eq!(folder.names(), ["percept.png"], "{line}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = Folder::new();
    let pictures = [picture("3_triangle.png"), picture("8_moon.png")];
    let npz = |flags: &str| {
        let line = format!("sample --samples 3 --steps 2 --sampler ddpm -o samples.npz {flags}");
        folder.percept_succeeds(&line, &pictures);
        folder.read("samples.npz")
    };
    let expected = npz("--seed 5");
    for flags in ["--batch 1", "--batch 3", "--batch 4 --threads 1", "--threads 2", "--device cpu"] {
        assert!(npz(&format!("--seed 5 {flags}")) == expected, "{flags}: other bytes");
    }
    assert!(npz("--seed 6") != expected, "another seed gives other samples");
}

#[test]
fn an_npz_has_bundles_then_pictures_then_samples() {
    let folder = Folder::new();
    let pictures = [picture("2_square.png"), picture("5_ring.png")];
    let npz = |flags: &str, pictures: &[PathBuf]| {
        folder.percept_succeeds(&format!("sample --steps 2 -o samples.NPZ {flags}"), pictures);
        arr_0(&folder.read("samples.NPZ"))
    };
    let (shape, both) = npz("--samples 2", &pictures);
    assert_eq!(shape, "8, 32, 32, 3");
    let bundle = |name: &str| format!("--samples 2 --bundle {}", asset(name).display());
    let (shape, trunk) = npz(&bundle("trunk.bundle.json"), &pictures);
    assert_eq!(shape, "4, 32, 32, 3");
    let files = format!(
        "--samples 2 --encoder {} --head {} --decoder {}",
        asset("encoder.safetensors").display(),
        asset("head.safetensors").display(),
        asset("decoder_head.safetensors").display()
    );
    let (_, head) = npz(&files, &pictures);
    assert!(both == [trunk.clone(), head].concat(), "the trunk's samples come before the head's");
    let (_, first) = npz(&bundle("trunk.bundle.json"), &pictures[..1]);
    assert!(trunk[..first.len()] == first, "the first picture's samples come first");
    // Each sample is 32 x 32 and has a byte per channel.
    let samples: Vec<&[u8]> = both.chunks(32 * 32 * 3).collect();
    assert!(samples[0] != samples[1] && samples[0] != samples[4], "each sample is another");
}

#[test]
fn the_reference_agrees_with_the_cpu() {
    let folder = Folder::new();
    let bundle = asset("trunk.bundle.json");
    let mut samples = Vec::new();
    for device in ["cpu", "reference"] {
        let line = format!("--device {device} sample --steps 1 --samples 1 -o s.npz --bundle {}", bundle.display());
        folder.percept_succeeds(&line, &[picture("6_cross.png")]);
        samples.push(arr_0(&folder.read("s.npz")).1);
    }
    let apart = samples[0].iter().zip(&samples[1]).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart <= Some(1), "bytes differ by {apart:?}");
}
