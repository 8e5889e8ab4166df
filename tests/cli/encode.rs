//! Tests `percept encode`: representations in the formats that other programs read.

use std::path::PathBuf;

use percept::images;
use percept::weights::OpenModel;
use percept::{Device, Encoder, Preprocessing};
use serde_json::Value;

use crate::{Folder, asset};

/// Returns the demo's pictures, in order.
fn pictures() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(asset("images")).expect("the demo's pictures");
    let mut pictures: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    pictures.sort();
    assert_eq!(pictures.len(), 8);
    pictures
}

/// Returns the representations that the library computes for a layer.
fn representations(layer: &str) -> Vec<f32> {
    let head = asset("head.safetensors");
    let head = layer.starts_with("head").then_some(head.as_path());
    let preprocessing = Preprocessing::new("rcdm", 64).expect("a preset");
    let device = Device::cpu().expect("a CPU");
    let encoder = Encoder::open_layer(asset("encoder.safetensors"), head, layer, Some(preprocessing), &device);
    let mut encoder = encoder.expect("an encoder");
    let encode = |path: &PathBuf| encoder.encode(&images::open(path).expect("a picture")).expect("a representation");
    pictures().iter().flat_map(encode).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Returns the dictionary of an array in numpy's format, and its bytes.
fn array(npy: &[u8]) -> (String, &[u8]) {
    assert_eq!(npy[..8], *b"\x93NUMPY\x01\x00");
    let length = u16::from_le_bytes([npy[8], npy[9]]) as usize;
    assert_eq!((10 + length) % 64, 0);
    (String::from_utf8_lossy(&npy[10..10 + length]).trim_end().to_string(), &npy[10 + length..])
}

const ENCODER: &str = "--device cpu --image-size 64";

fn encode(folder: &Folder, line: &str, images: &[PathBuf]) -> String {
    let paths: Vec<PathBuf> =
        ["--encoder".into(), asset("encoder.safetensors")].into_iter().chain(images.iter().cloned()).collect();
    folder.percept_succeeds(&format!("encode {ENCODER} {line}"), &paths)
}

#[test]
fn every_format_holds_what_the_library_gives() {
    let folder = Folder::new();
    let want = representations("trunk");
    let said = encode(&folder, "-o h.npy", &[asset("images")]);
    assert!(said.starts_with("h.npy: 8 pictures, 256 elements of trunk each"), "{said}");
    let npy = folder.read("h.npy");
    let (dictionary, bytes) = array(&npy);
    assert_eq!(dictionary, "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 256), }");
    assert_eq!(floats(bytes), want);

    encode(&folder, "-o h.safetensors", &pictures());
    let file = OpenModel::open(folder.path("h.safetensors")).expect("a .safetensors file");
    let (_, bytes) = file.raw("h").expect("the representations");
    assert_eq!(floats(bytes), want);
    let model = OpenModel::open(asset("encoder.safetensors")).expect("the encoder");
    assert_eq!(file.metadata("encoder.sha256"), Some(model.sha256().as_str()));
    assert_eq!(file.metadata("preprocessing"), Some(r#"{"preset":"rcdm","size":64}"#));
    let names: Vec<PathBuf> = serde_json::from_str(file.metadata("names").expect("names")).expect("JSON");
    assert_eq!(names, pictures());

    encode(&folder, "-o h.jsonl", &pictures());
    let text = String::from_utf8(folder.read("h.jsonl")).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let h = |line: &Value| -> Vec<f32> { serde_json::from_value(line["h"].clone()).expect("numbers") };
    assert_eq!(lines.iter().flat_map(h).collect::<Vec<_>>(), want);
    assert_eq!((lines[3]["layer"].as_str(), lines[3]["name"].as_str()), (Some("trunk"), pictures()[3].to_str()));

    encode(&folder, "-o h.npz", &pictures());
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(folder.read("h.npz"))).expect("an archive");
    let mut entry = |name: &str| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name(name).expect("an array"), &mut bytes).expect("bytes");
        bytes
    };
    assert_eq!(entry("h.npy"), npy);
    let letters = |bytes: &[u8]| -> String {
        let letters = bytes.as_chunks::<4>().0.iter().map(|letter| u32::from_le_bytes(*letter));
        letters.filter(|&letter| letter > 0).map(|letter| char::from_u32(letter).expect("a letter")).collect()
    };
    let names = entry("names.npy");
    let (dictionary, bytes) = array(&names);
    assert!(dictionary.contains("'descr': '<U") && dictionary.contains("'shape': (8,)"), "{dictionary}");
    assert_eq!(letters(&bytes[..bytes.len() / 8]), pictures()[0].display().to_string());
    let metadata = entry("metadata.npy");
    let (dictionary, bytes) = array(&metadata);
    assert!(dictionary.contains("'shape': ()"), "{dictionary}");
    let metadata: Value = serde_json::from_str(&letters(bytes)).expect("JSON");
    assert_eq!(metadata["encoder"], "encoder.safetensors");
}

#[test]
fn layers_heads_bundles_and_patterns() {
    let folder = Folder::new();
    let values = |name: &str| floats(array(&folder.read(name)).1);
    encode(&folder, "-o layer2.npy --layer layer2", &pictures());
    assert_eq!(values("layer2.npy"), representations("layer2"));
    let head = ["--head".into(), asset("head.safetensors")].into_iter().chain(pictures()).collect::<Vec<_>>();
    encode(&folder, "-o head.npy", &head);
    assert_eq!(values("head.npy"), representations("head"));
    encode(&folder, "-o head0.npy --layer head.0", &head);
    assert_eq!(values("head0.npy"), representations("head.0"));
    let bundle = ["--bundle".into(), asset("head.bundle.json"), asset("images/*.png")];
    let object = folder.percept_succeeds("encode --device cpu -o bundle.npy --json", &bundle);
    let object: Value = serde_json::from_str(&object).expect("JSON");
    assert_eq!((&object["pictures"], &object["dim"], &object["layer"]), (&8.into(), &256.into(), &"head".into()));
    assert_eq!(values("bundle.npy"), representations("head"));
}

/// A batch has at most 16 pictures, and the result for a picture does not depend on its batch.
#[test]
fn pictures_are_encoded_in_batches_wherever_they_stand() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("photos/inner.png")).expect("folders");
    for (number, picture) in pictures().iter().enumerate() {
        std::fs::copy(picture, folder.path(&format!("photos/{number}.PNG"))).expect("a copy");
    }
    folder.write("photos/notes.txt", "no picture");
    // A folder, a pattern and a file. Pictures that are named again appear again.
    let named = ["photos", "photos/[0-6].PNG", "photos/3.PNG", "photos/*.PNG"].map(PathBuf::from);
    encode(&folder, "-o h.jsonl", &named);
    let text = String::from_utf8(folder.read("h.jsonl")).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let want = representations("trunk");
    let numbers = (0..8).chain(0..7).chain([3]).chain(0..8);
    assert_eq!(lines.len(), 24);
    for (line, number) in lines.iter().zip(numbers) {
        let h: Vec<f32> = serde_json::from_value(line["h"].clone()).expect("numbers");
        assert_eq!(line["name"], PathBuf::from("photos").join(format!("{number}.PNG")).display().to_string());
        assert_eq!(h, want[number * 256..(number + 1) * 256], "{number}");
    }
}

/// An untrained encoder needs no file, and is the same every time.
#[test]
fn an_untrained_encoder() {
    let folder = Folder::new();
    let run = |encoder: &str, out: &str| {
        let line = format!("encode --device cpu --encoder {encoder} --layer layer2 --image-size 64 -o {out}");
        folder.percept_succeeds(&line, &pictures());
        folder.read(out)
    };
    let first = run("random:resnet18", "first.npy");
    assert_eq!(array(&first).0, "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 128), }");
    assert_eq!(run("random:resnet18:0", "again.npy"), first);
    assert_ne!(run("random:resnet18:1", "other.npy"), first);
    // Its representations of different pictures differ.
    let (_, bytes) = array(&first);
    let rows: Vec<Vec<f32>> = floats(bytes).chunks(128).map(<[f32]>::to_vec).collect();
    assert!(rows.windows(2).all(|pair| percept_tests::relative_error(&pair[0], &pair[1]) > 1e-3));
    // Samples name the encoder in their metadata.
    let decoder = ["--decoder".into(), asset("decoder_trunk.safetensors"), asset("images/4_star.png")];
    let line =
        "sample --device cpu --encoder random:vit_tiny_patch16_224 --image-size 64 --samples 1 --steps 2 -o out.png";
    folder.percept_fails(line, &decoder, &["expected a decoder for the 192 elements of the encoder's trunk"]);
    let line = "sample --device cpu --encoder random:resnet18:5 --layer layer3 --image-size 64 --samples 1 --steps 2 -o out.png";
    folder.percept_succeeds(line, &decoder);
    let text = String::from_utf8_lossy(&folder.read("out.png")).into_owned();
    assert!(text.contains("random:resnet18:5") && text.contains("layer layer3"), "the text chunks of the picture");
    for (encoder, saying) in [
        ("random:resnet51", "--encoder random:ARCH: expected a ResNet of torchvision such as resnet50"),
        ("random:resnet18:x", "expected a number as the seed, got x"),
    ] {
        folder.percept_fails(&format!("encode --encoder {encoder} -o h.npy"), &pictures(), &[saying]);
    }
}

#[test]
fn a_preprocessing_that_is_not_the_models_is_a_warning() {
    let folder = Folder::new();
    let convert = "convert -o e.safetensors --image-size 64";
    assert_eq!(folder.run("percept-weights", convert, &[asset("encoder.safetensors")]).code, Some(0));
    let picture = [asset("images/4_star.png")];
    let own = folder.percept("encode --device cpu --encoder e.safetensors -o own.npy", &picture);
    assert_eq!((own.code, own.stderr.as_str()), (Some(0), ""));
    for (flags, given) in [
        ("--image-size 96", "rcdm at 96"),
        ("--preprocessing squash", "squash at 64"),
        ("--preprocessing imagenet --image-size 65", "imagenet at 65"),
    ] {
        let line = format!("encode --device cpu --encoder e.safetensors -o other.npy {flags}");
        let other = folder.percept(&line, &picture);
        assert_eq!(other.code, Some(0));
        let saying = "warning: e.safetensors was made for pictures by rcdm at 64 pixels, and is given them by";
        assert_eq!(other.stderr, format!("{saying} {given} pixels\n"));
        assert_ne!(folder.read("own.npy"), folder.read("other.npy"), "{flags}");
    }
    // There is no warning if the flags match the file, or if the file specifies nothing.
    let line = "encode --device cpu --encoder e.safetensors -o same.npy --preprocessing rcdm --image-size 64";
    folder.percept_succeeds(line, &picture);
    assert_eq!(folder.read("own.npy"), folder.read("same.npy"));
    let line = "encode --device cpu --encoder random:resnet18 -o random.npy --preprocessing imagenet --image-size 33";
    folder.percept_succeeds(line, &picture);
    folder.percept_fails(
        "encode --encoder e.safetensors -o h.npy --preprocessing dino",
        &picture,
        &["--preprocessing: expected one of rcdm, squash, imagenet, got \"dino\""],
    );
    // Without a flag, a model's own preset is used, and a bundle specifies it.
    let convert = "convert -o i.safetensors --preprocessing imagenet --image-size 65";
    assert_eq!(folder.run("percept-weights", convert, &[asset("encoder.safetensors")]).code, Some(0));
    folder.percept_succeeds("encode --device cpu --encoder i.safetensors -o own_imagenet.npy", &picture);
    assert_eq!(folder.read("own_imagenet.npy"), folder.read("other.npy"));
    let bundle = |flags: &str| {
        let line = format!("bundle -o x.bundle.json --encoder i.safetensors {flags}");
        let paths = ["--decoder".into(), asset("decoder_trunk.safetensors")];
        assert_eq!(folder.run("percept-weights", &line, &paths).code, Some(0));
        folder.percept("encode --device cpu --bundle x.bundle.json -o bundle.npy", &picture).stderr
    };
    assert_eq!(bundle(""), "");
    assert_eq!(folder.read("bundle.npy"), folder.read("other.npy"));
    let saying =
        "i.safetensors was made for pictures by imagenet at 65 pixels, and is given them by squash at 65 pixels\n";
    assert!(bundle("--preprocessing squash").ends_with(saying));
    let line = "encode --device cpu --bundle x.bundle.json -o bundle.npy --preprocessing rcdm";
    let saying = "x.bundle.json was made for pictures by squash at 65 pixels, and is given them by rcdm at 65 pixels\n";
    assert_eq!(folder.percept(line, &picture).stderr, format!("warning: {saying}"));
}

#[test]
fn errors() {
    let folder = Folder::new();
    folder.write("note.txt", "no picture");
    folder.write("broken.png", "no picture");
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    let with = |images: &[&str]| -> Vec<PathBuf> {
        let encoder = ["--encoder".into(), asset("encoder.safetensors")];
        encoder.into_iter().chain(images.iter().map(PathBuf::from)).collect()
    };
    let star = asset("images/4_star.png").display().to_string();
    folder.percept_fails("encode -o h.txt", &with(&[&star]), &["-o: expected a name that ends in .npy", "h.txt"]);
    folder.percept_fails("encode -o h.npy", &with(&["gone.png"]), &["gone.png"]);
    folder.percept_fails("encode -o h.npy", &with(&[&star, "broken.png"]), &["broken.png"]);
    folder.percept_fails("encode -o h.npy", &with(&["empty"]), &["empty: expected a folder with a .png"]);
    // Nothing remains in any format, not even the results for the pictures before.
    for format in ["npy", "npz", "safetensors", "jsonl"] {
        let images: Vec<&str> = std::iter::repeat_n(star.as_str(), 17).chain(["broken.png"]).collect();
        folder.percept_fails(&format!("encode -o h.{format}"), &with(&images), &["broken.png"]);
    }
    folder.percept_fails("encode -o h.npy", &with(&["*.gif"]), &["*.gif", "one that fits no file"]);
    folder.percept_fails("encode -o h.npy --layer layer9", &with(&[&star]), &["--layer: expected one of stem, layer1"]);
    folder.percept_fails("encode -o gone/h.npy", &with(&[&star]), &["gone"]);
    assert_eq!(folder.percept("encode -o h.npy", &[PathBuf::from(&star)]).code, Some(2));
    // A bundle has a layer and a head of its own.
    for command in ["encode -o h.npy", "sample -o h.png"] {
        for (flag, value) in [("--layer", "NAME"), ("--head", "FILE")] {
            let line = format!("{command} --bundle trunk.bundle.json {flag} layer2");
            let ended = folder.percept(&line, &[PathBuf::from(&star)]);
            let saying = format!("the argument '{flag} <{value}>' cannot be used with '--bundle <FILE>'");
            let other = format!("the argument '--bundle <FILE>' cannot be used with '{flag} <{value}>'");
            assert_eq!(ended.code, Some(2), "{line}");
            assert!(ended.stderr.contains(&saying) || ended.stderr.contains(&other), "{line}: {}", ended.stderr);
        }
    }
}
