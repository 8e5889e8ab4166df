//! Tests `percept-weights`: its files, its messages and its exit codes.

use std::path::{Path, PathBuf};

use percept_tests::write_rcdm_of_64;

use crate::{Ended, Folder, asset, root};

/// Returns the path of a checkpoint in a layout that is in use.
fn layout(name: &str) -> PathBuf {
    root().join("tests/weights/layouts/files").join(name)
}

impl Folder {
    #[track_caller]
    fn weights(&self, line: &str, paths: &[PathBuf]) -> Ended {
        self.run("percept-weights", line, paths)
    }

    /// Runs `percept-weights` here, which must succeed, and returns its output.
    #[track_caller]
    fn weights_succeeds(&self, line: &str, paths: &[PathBuf]) -> String {
        let ended = self.weights(line, paths);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}: {}", ended.stdout);
        ended.stdout
    }
}

/// Asserts that all parts are in a text.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// Tests the three commands of the README, on the demo's models: from two files to pictures.
#[test]
fn from_two_files_to_pictures_in_three_commands() {
    let folder = Folder::new();
    let text =
        folder.weights_succeeds("convert -o encoder.safetensors --image-size 64", &[asset("encoder.safetensors")]);
    says(&text, &["trunk: a resnet", "0 missing, 0 of another shape, 0 unexpected", "written to encoder.safetensors"]);
    folder.weights_succeeds("convert -o rcdm.safetensors --dtype f32", &[asset("decoder_trunk.safetensors")]);
    let sample = "sample --encoder encoder.safetensors --decoder rcdm.safetensors --samples 1 --steps 2 -o grid.png";
    folder.percept_succeeds(sample, &[asset("images/4_star.png")]);
    assert_eq!(folder.names(), ["encoder.safetensors", "grid.png", "rcdm.safetensors"]);
    // The same picture as from the demo's own files.
    let own = "sample --samples 1 --steps 2 -o own.png --bundle";
    folder.percept_succeeds(own, &[asset("trunk.bundle.json"), asset("images/4_star.png")]);
    let pixels = |name: &str| image::open(folder.path(name)).expect("a picture").to_rgb8();
    assert_eq!(pixels("grid.png"), pixels("own.png"));
}

#[test]
fn an_encoder_and_its_head_become_two_files() {
    let folder = Folder::new();
    let text = folder.weights_succeeds("convert -o dino.safetensors --tensors", &[layout("dino_resnet50_full.pth")]);
    says(
        &text,
        &[
            "from teacher.module.backbone.",
            "from teacher.module.head.",
            "unused: 1 dino_loss, 2 optimizer, 329 student",
        ],
    );
    says(&text, &["written to dino.head.safetensors", "  conv1.weight f32: largest "]);
    assert_eq!(folder.names(), ["dino.head.safetensors", "dino.safetensors"]);
    let text = folder.weights_succeeds("verify dino.safetensors", &[]);
    says(&text, &["whole, 265 tensors, SHA-256 of 265 as written", "out.trunk is finite"]);
    let text = folder.weights_succeeds("inspect dino.head.safetensors", &[]);
    says(&text, &["percept.source: ", "\"file\":\"dino_resnet50_full.pth\"", "head: a head", "mlp"]);
    let text = folder.weights_succeeds("verify", &[layout("dino_resnet50_full.pth"), "dino.safetensors".into()]);
    says(&text, &["265 tensors compared, 0 of them differ"]);
}

/// Changes the bytes of the first float of a file's data.
fn spoil(path: &Path, value: [u8; 4]) {
    let mut bytes = std::fs::read(path).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..][..4].copy_from_slice(&value);
    std::fs::write(path, bytes).expect("a file");
}

#[test]
fn a_spoiled_model_is_told() {
    let folder = Folder::new();
    folder.weights_succeeds("convert -o byol.safetensors", &[layout("byol_head.pth")]);
    std::fs::copy(folder.path("byol.safetensors"), folder.path("whole.safetensors")).expect("a copy");
    spoil(&folder.path("byol.safetensors"), 1.5f32.to_le_bytes());
    let ended = folder.weights("verify byol.safetensors", &[]);
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["error: byol.safetensors: 0.bias: expected bytes of SHA-256 "]);
    let ended = folder.weights("verify whole.safetensors byol.safetensors", &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    says(&ended.stdout, &["0.bias: relative error", "8 tensors compared, 1 of them differ"]);
    folder.weights_succeeds("verify whole.safetensors byol.safetensors --tolerance 100", &[]);
    let text = folder.weights_succeeds("verify whole.safetensors whole.safetensors", &[]);
    says(&text, &["8 tensors compared, 0 of them differ, relative error at most 0.0e0"]);
    // A truncated file.
    let bytes = folder.read("whole.safetensors");
    folder.write("whole.safetensors", &bytes[..bytes.len() - 1]);
    let ended = folder.weights("verify whole.safetensors", &[]);
    says(&ended.stderr, &["error: whole.safetensors: expected a whole .safetensors file"]);
}

/// A checkpoint with three faults: the command names all three, and writes nothing unless that is allowed.
#[test]
fn a_checkpoint_with_three_faults() {
    let folder = Folder::new();
    folder.weights_succeeds("convert -o simclr.safetensors --config flags.json", &{
        folder.write("flags.json", r#"{"head": "simclr"}"#);
        [layout("simclr_head.pth")]
    });
    // The metadata keeps the configuration. The header is rewritten with one tensor renamed to a name of the
    // same length and one shape transposed, and an element becomes NaN.
    let bytes = folder.read("simclr.safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).expect("JSON");
    let changed =
        header.replace("\"mlp.0.bias\":{", "\"mlp.0.bios\":{").replace("\"shape\":[16,32]", "\"shape\":[32,16]");
    assert_eq!(changed.len(), header.len());
    folder.write("faulty.safetensors", [&bytes[..8], changed.as_bytes(), &bytes[8 + length..]].concat());
    let weights_begin = 8 + length;
    let mut faulty = folder.read("faulty.safetensors");
    let place = header_place(&changed, "mlp.0.weight");
    faulty[weights_begin + place..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("faulty.safetensors", &faulty);

    let before = folder.names();
    let ended = folder.weights("convert --dry-run faulty.safetensors", &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    says(
        &ended.stdout,
        &[
            "2 tensors matched, 1 missing, 1 of another shape, 1 unexpected, 0 dropped",
            "missing mlp.0.bias (there is mlp.0.bios)",
            "mlp.2.weight: expected [16, 32], got [32, 16]",
            "unexpected mlp.0.bios",
            "mlp.0.weight: 1 elements that are NaN or infinite",
        ],
    );
    let ended = folder.weights("convert faulty.safetensors -o out.safetensors", &[]);
    assert_eq!(ended.code, Some(1));
    says(&ended.stdout, &["nothing was written"]);
    // Elements that are not finite are never allowed.
    let ended = folder.weights("convert faulty.safetensors -o out.safetensors --allow", &[]);
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["expected finite weights, got mlp.0.weight: 1 elements that are NaN or infinite"]);
    assert_eq!(folder.names(), before);
    faulty[weights_begin + place..][..4].copy_from_slice(&0.0f32.to_le_bytes());
    folder.write("faulty.safetensors", &faulty);
    let text = folder.weights_succeeds("convert faulty.safetensors -o out.safetensors --allow", &[]);
    says(&text, &["1 missing", "written to out.safetensors"]);
    // percept does not load a file that lacks a tensor.
    let ended = folder.weights("verify out.safetensors", &[]);
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["missing mlp.0.bias"]);
}

/// Returns the offset of a tensor's elements after the header.
fn header_place(header: &str, tensor: &str) -> usize {
    let (_, about) = header.split_once(&format!("\"{tensor}\":{{")).expect("the tensor");
    let (_, offsets) = about.split_once("\"data_offsets\":[").expect("offsets");
    offsets.split(',').next().and_then(|begin| begin.parse().ok()).expect("a number")
}

#[test]
fn errors_leave_nothing() {
    let folder = Folder::new();
    folder.write("list.json", "[1, 2]");
    let fails = |line: &str, paths: &[PathBuf], saying: &[&str]| {
        let before = folder.names();
        let ended = folder.weights(line, paths);
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.stdout);
        says(&ended.stderr, saying);
        assert_eq!(folder.names(), before, "{line}");
    };
    fails("convert -o out.safetensors", &[layout("opt.pt")], &["opt.pt", "the state of an optimizer"]);
    fails("convert -o out.safetensors nowhere.pth", &[], &["nowhere.pth"]);
    fails("convert -o nowhere/out.safetensors", &[layout("byol_head.pth")], &["nowhere", "no such folder"]);
    fails("convert -o out.safetensors --config gone.json", &[layout("byol_head.pth")], &["gone.json"]);
    fails(
        "convert -o out.safetensors --config list.json",
        &[layout("byol_head.pth")],
        &["list.json: expected a JSON object"],
    );
    fails("convert -o out.safetensors --part decoder", &[layout("byol_head.pth")], &["a decoder, got one with a head"]);
    let twice = [layout("byol_head.pth"), layout("swav_head.pth")];
    fails("convert -o out.safetensors", &twice, &["expected tensors of different names, got 0.bias twice"]);
    fails("verify", &[layout("byol_head.pth")], &["byol_head.pth"]);
    fails("bundle -o x.json --encoder a --decoder b", &[], &["-o: expected NAME.bundle.json"]);
    // Invalid command lines.
    for line in ["convert", "convert x.pth", "convert x.pth -o y --dtype f8", "verify", "verify a --tolerance 1", ""] {
        assert_eq!(folder.weights(line, &[]).code, Some(2), "{line}");
    }
}

#[test]
fn a_bundle_is_a_folder_that_samples() {
    let folder = Folder::new();
    let files = |head: bool| {
        let head = if head { format!(" --head {}", asset("head.safetensors").display()) } else { String::new() };
        let decoder = asset(if head.is_empty() { "decoder_trunk.safetensors" } else { "decoder_head.safetensors" });
        format!("--encoder {}{head} --decoder {}", asset("encoder.safetensors").display(), decoder.display())
    };
    for (name, head) in [("trunk", false), ("head", true)] {
        folder.weights_succeeds(&format!("bundle -o demo/{name}.bundle.json --image-size 64 {}", files(head)), &[]);
        let sample = format!("sample --bundle demo/{name}.bundle.json --samples 1 --steps 2 -o {name}.png");
        folder.percept_succeeds(&sample, &[asset("images/4_star.png")]);
        // The same as from the demo's own bundle.
        let own = format!("sample --samples 1 --steps 2 -o own_{name}.png --bundle");
        folder.percept_succeeds(&own, &[asset(&format!("{name}.bundle.json")), asset("images/4_star.png")]);
        assert_eq!(folder.read(&format!("{name}.png")), folder.read(&format!("own_{name}.png")), "{name}");
    }
    // Both bundles have the same encoder and share its file.
    let mut names: Vec<String> = std::fs::read_dir(folder.path("demo"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "decoder_head.safetensors",
            "decoder_trunk.safetensors",
            "encoder.safetensors",
            "head.bundle.json",
            "head.safetensors",
            "trunk.bundle.json"
        ]
    );
    // Files that do not fit together do not make a bundle.
    write_rcdm_of_64(&folder.path("other.safetensors"));
    let wrong = format!(
        "bundle -o demo/wrong.bundle.json --encoder {} --decoder {}",
        asset("encoder.safetensors").display(),
        folder.path("other.safetensors").display()
    );
    let ended = folder.weights(&wrong, &[]);
    assert_eq!(ended.code, Some(1));
    says(&ended.stderr, &["other.safetensors: expected a decoder for the 256 elements of the encoder's trunk"]);
    assert!(!folder.path("demo/wrong.bundle.json").exists());
}
