//! Tests files that are truncated, changed or malicious: each gives an error that names the file, and never a
//! panic.

use std::fs;
use std::io::Write;
use std::path::Path;

use percept::Error;
use percept_tests::SplitMix;
use percept_weights::Checkpoint;
use percept_weights::convert::{Options, plan};
use serde_json::json;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{contents, file};

/// Returns the error of a file, which must name the file.
fn refused(path: &Path) -> String {
    match contents(path) {
        Err(Error::File(mismatch)) => mismatch.to_string(),
        Err(error) => panic!("{}: {error}", path.display()),
        Ok(tensors) => panic!("{}: {} tensors", path.display(), tensors.len()),
    }
}

fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn what_is_cut_short_is_refused_wherever_it_is_cut() {
    let folder = TempDir::new().expect("a folder");
    for name in
        ["plain.safetensors", "zip.pth", "legacy.pth", "model.safetensors.index.json", "arrays.npz", "columns.npz"]
    {
        let whole = fs::read(file(name)).expect("a file");
        for length in (0..whole.len()).step_by(7) {
            let path = written(&folder, name, &whole[..length]);
            let told = refused(&path);
            assert!(
                told.contains(name) || told.contains("teacher.") || told.contains("optimizer."),
                "{length}: {told}"
            );
        }
    }
}

#[test]
fn what_is_changed_anywhere_is_read_or_refused() {
    let folder = TempDir::new().expect("a folder");
    let mut random = SplitMix::new(3);
    for name in ["plain.safetensors", "zip.pth", "legacy.pth", "arrays.npz", "columns.npz"] {
        let whole = fs::read(file(name)).expect("a file");
        for _ in 0..1000 {
            let mut changed = whole.clone();
            for _ in 0..=random.bits() % 3 {
                let place = random.bits() as usize % changed.len();
                changed[place] = random.bits() as u8;
            }
            // Success and error are both correct, since many bytes are elements. There must be no panic, no
            // hang, and no other error.
            if let Err(error) = contents(&written(&folder, name, &changed)) {
                assert!(matches!(error, Error::File(_)), "{error}");
            }
        }
    }
}

#[test]
fn what_is_no_checkpoint_is_named() {
    let folder = TempDir::new().expect("a folder");
    assert!(refused(&folder.path().join("nowhere.pth")).contains("nowhere.pth"));
    assert!(refused(folder.path()).contains("a folder"));
    for (name, bytes) in [
        ("empty.pth", &b""[..]),
        ("picture.png", b"\x89PNG\r\n\x1a\n and more"),
        ("text.pt", b"once upon a time there was a file"),
        ("other.json", b"{\"version\": 1}"),
        // A pickle that would start a program if it were executed.
        ("shell.pkl", b"cos\nsystem\n(S'touch /tmp/percept_was_here'\ntR."),
    ] {
        assert!(refused(&written(&folder, name, bytes)).contains(name));
    }
    assert!(!Path::new("/tmp/percept_was_here").exists());
    // A header that claims to be longer than any file.
    let mut bomb = u64::MAX.to_le_bytes().to_vec();
    bomb.extend(b"{\"a\":{}}");
    assert!(refused(&written(&folder, "bomb.safetensors", &bomb)).contains("bomb.safetensors"));
}

#[test]
fn an_index_opens_nothing_but_what_lies_beside_it() {
    let folder = TempDir::new().expect("a folder");
    let index = |map: &str| written(&folder, "x.index.json", format!("{{\"weight_map\": {map}}}").as_bytes());
    for place in ["../plain.safetensors", "/etc/passwd", "a/b.safetensors", "", ".."] {
        assert!(refused(&index(&format!("{{\"a\": \"{place}\"}}"))).contains("beside the index"), "{place}");
    }
    assert!(refused(&index("{\"a\": 3}")).contains("beside the index"));
    assert!(refused(&index("{\"a\": \"gone.safetensors\"}")).contains("gone.safetensors"));
    fs::copy(file("plain.safetensors"), folder.path().join("here.safetensors")).expect("a copy");
    assert!(refused(&index("{\"a\": \"here.safetensors\"}")).contains("a in here.safetensors"));
}

/// Returns a .safetensors file of names, shapes without elements, and metadata.
fn shaped(tensors: &[(&str, &[u64])], metadata: &[(&str, &str)]) -> Vec<u8> {
    let info = |shape: &[u64]| json!({"dtype": "F32", "shape": shape, "data_offsets": [0, 0]});
    let mut header: serde_json::Map<_, _> =
        tensors.iter().map(|(name, shape)| (name.to_string(), info(shape))).collect();
    let metadata: serde_json::Map<_, _> = metadata.iter().map(|(key, text)| (key.to_string(), json!(text))).collect();
    header.insert("__metadata__".to_string(), metadata.into());
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// Plans the conversion of such a file.
fn planned(tensors: &[(&str, &[u64])], metadata: &[(&str, &str)]) -> Result<(), String> {
    let folder = TempDir::new().expect("a folder");
    let bytes = shaped(tensors, metadata);
    let checkpoint = Checkpoint::open(&written(&folder, "planned.safetensors", &bytes)).expect("a checkpoint");
    plan(&checkpoint, &Options::default()).map(|_| ()).map_err(|error| error.to_string())
}

/// A few letters of a configuration must not cause an allocation of 16 GiB for unneeded inputs, or the
/// construction of an endless program.
#[test]
fn a_configuration_alone_costs_nothing() {
    for (kind, config) in [
        ("head", r#"{"head": "dino", "dims": [4294967295, 1]}"#),
        ("unet", r#"{"image_size": 4096, "channel_mult": "1", "ssl_dim": 4294967295, "conditioning": "cbn"}"#),
    ] {
        // Success and error are both acceptable.
        let _ = planned(&[("a", &[0])], &[("percept.kind", kind), ("percept.config", config)]);
    }
    let config = r#"{"block": "basic", "layers": [1, 1000000000000], "width": 4}"#;
    let told = planned(&[("a", &[0])], &[("percept.kind", "resnet"), ("percept.config", config)]);
    assert!(told.as_ref().is_err_and(|told| told.contains("1 to 256 blocks")), "{told:?}");
}

#[test]
fn shapes_that_no_image_has_are_refused() {
    let told = planned(
        &[
            ("blocks.0.norm1.weight", &[0]),
            ("patch_embed.proj.weight", &[0, 3, 16, u64::MAX]),
            ("pos_embed", &[0, 5, 64]),
        ],
        &[],
    );
    assert!(told.as_ref().is_err_and(|told| told.contains("patches of an image")), "{told:?}");
}

/// Returns a file of `torch.save` before 1.6 with one tensor, which is a view of a storage of one float. The
/// shape and the strides are pickled.
fn viewing(shape: &[u8], strides: &[u8]) -> Vec<u8> {
    [
        // The magic number, the version, and the system that wrote the file.
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.",
        &b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n("[..],
        b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01NtQK\x00",
        shape,
        strides,
        // No gradient, no hooks; then the names of the storages, and the storage with its number of elements.
        b"\x89}tRs.\x80\x02]U\x010a.\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f",
    ]
    .concat()
}

/// A view with strides of zero may be large in a short file.
#[test]
fn a_view_is_not_a_bomb() {
    let folder = TempDir::new().expect("a folder");
    let three = contents(&written(&folder, "three.pth", &viewing(b"K\x03\x85", b"K\x00\x85"))).expect("a file");
    assert_eq!(three["w"], ("F32".into(), vec![3], 1f32.to_le_bytes().repeat(3)));
    let told = refused(&written(&folder, "large.pth", &viewing(b"J\x00\x00\x00\x40\x85", b"K\x00\x85")));
    assert!(told.contains("large.pth") && told.contains("w of 1 dimensions and 4294967296 bytes"), "{told}");
    let ones = [&b"("[..], &b"K\x01".repeat(65), b"t"].concat();
    let told = refused(&written(&folder, "deep.pth", &viewing(&ones, &ones)));
    assert!(told.contains("w of 65 dimensions"), "{told}");
}

/// Each byte of a pickle may become a value that takes a hundred bytes.
#[test]
fn a_pickle_that_was_shrunk_is_not_a_bomb() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("shrunk.pth");
    let mut archive = ZipWriter::new(fs::File::create(&path).expect("a file"));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    archive.start_file("archive/data.pkl", options).expect("an entry");
    archive.write_all(&b"N".repeat(1 << 20)).expect("a pickle");
    archive.finish().expect("an archive");
    let told = refused(&path);
    assert!(told.contains("shrunk.pth") && told.contains("1048576 bytes"), "{told}");
}

/// Two bytes of a pickle can fetch an earlier value, with all its names.
#[test]
fn a_memo_is_not_a_bomb() {
    let folder = TempDir::new().expect("a folder");
    let start =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}U\x0dlittle_endian\x88s.";
    let letters = 100_000;
    let key = [b"X", &(letters as u32).to_le_bytes()[..], &b"k".repeat(letters)].concat();
    let fetches = b"h\x00".repeat(letters / 2);
    let keys = [&b"\x80\x02}"[..], &key, b"Nsq\x00", &fetches, b".\x80\x02]."].concat();
    let class = [&b"\x80\x02c"[..], &b"m".repeat(letters), b"\nx\nq\x00", &fetches, b".\x80\x02]."].concat();
    for (name, pickle) in [("keys", keys), ("class", class)] {
        let legacy = [&start[..], &pickle].concat();
        assert!(refused(&written(&folder, "legacy.pth", &legacy)).contains("would take too much memory"), "{name}");
        let mut archive = ZipWriter::new(fs::File::create(folder.path().join("zip.pth")).expect("a file"));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file("archive/data.pkl", stored).expect("an entry");
        archive.write_all(&pickle).expect("a pickle");
        archive.finish().expect("an archive");
        assert!(refused(&folder.path().join("zip.pth")).contains("would take too much memory"), "{name}");
        // Also in any entry of a tar archive.
        let mut header = [0; 512];
        header[..6].copy_from_slice(b"pickle");
        header[124..135].copy_from_slice(format!("{:011o}", pickle.len()).as_bytes());
        header[257..262].copy_from_slice(b"ustar");
        let tar = [&header[..], &pickle, &vec![0; 512 - pickle.len() % 512]].concat();
        let two = [&header[..124], b"00000000000\0", &header[136..], &tar].concat();
        assert!(refused(&written(&folder, "tar.pth", &two)).contains("would take too much memory"), "{name}");
    }
}

/// Names are compared with each other, so their number is limited, and planning with the largest allowed number
/// takes less than minutes.
#[test]
fn many_names_are_refused_or_quick() {
    let folder = TempDir::new().expect("a folder");
    let names = |count: usize| -> Vec<String> {
        let resnet = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.conv1.weight"];
        resnet.into_iter().map(String::from).chain((0..count).map(|i| format!("layer1.0.conv.{i:06}"))).collect()
    };
    let names_of = |count: usize| {
        let names = names(count);
        let tensors: Vec<(&str, &[u64])> = names.iter().map(|name| (name.as_str(), &[0u64, 3, 3, 3][..])).collect();
        shaped(&tensors, &[])
    };
    let told = refused(&written(&folder, "many.safetensors", &names_of(1 << 17)));
    assert!(told.contains("at most 131072 tensors"), "{told}");
    let checkpoint =
        Checkpoint::open(&written(&folder, "fewer.safetensors", &names_of(100_000))).expect("a checkpoint");
    // A width of zero is invalid. Only the time of planning matters here.
    let _ = plan(&checkpoint, &Options::default()).map(|_| ());
}

/// The time to build a tree of names grows with the square of the number of their parts.
#[test]
fn a_name_is_no_book() {
    let folder = TempDir::new().expect("a folder");
    let told = refused(&written(&folder, "long.safetensors", &shaped(&[("a", &[0]), (&"b.".repeat(513), &[0])], &[])));
    assert!(told.contains("long.safetensors") && told.contains("one of 1026"), "{told}");
    Checkpoint::open(&written(&folder, "short.safetensors", &shaped(&[(&"b.".repeat(512), &[0])], &[])))
        .expect("a file");
}
