//! Tests model files: a file that is not a complete .safetensors file is refused with an error that says so,
//! and every float type is read correctly.

use percept::weights::{ModelFile, WeightSource, kind_and_config};
use percept::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};

/// Returns a file of the given header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Returns the header of a file of one tensor.
fn header(dtype: &str, shape: &str, offsets: [usize; 2]) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets:?}}}}}"#)
}

/// Returns the expected and the given part of a file's error.
#[track_caller]
fn refused<T>(what: &str, result: Result<T>) -> [String; 2] {
    match result {
        Err(Error::File(mismatch)) => {
            assert!(mismatch.at.starts_with("it.safetensors"), "{what}: {mismatch}");
            [mismatch.expected, mismatch.got]
        }
        Err(other) => panic!("{what}: not a file's error: {other}"),
        Ok(_) => panic!("{what}: taken"),
    }
}

#[test]
fn what_is_no_whole_file_is_refused() {
    let good = file(&header("F32", "[2]", [0, 8]), &[0; 8]);
    assert!(ModelFile::parse("it.safetensors", &good[..]).is_ok());
    let claiming = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    let deep = "[".repeat(200_000);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("seven bytes", vec![0; 7]),
        ("zeros", vec![0; 64]),
        ("text", b"This is a text, and no model file at all.".to_vec()),
        ("a PNG file", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0".to_vec()),
        ("a zip archive, as PyTorch's files are", b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0".to_vec()),
        ("a header of 2^64 bytes", claiming(u64::MAX)),
        ("a header of 2^63 bytes", claiming(1 << 63)),
        ("a header of 100 MB", claiming(100_000_000)),
        ("a header longer than the file", claiming(3)),
        ("a header that is no UTF-8", [&2u64.to_le_bytes()[..], b"\xff\xfe"].concat()),
        ("a header that is no JSON", file("{\"w\":", &[])),
        ("a header that is a list", file("[]", &[])),
        ("a header of lists in lists", file(&format!("{{\"w\":{deep}}}"), &[])),
        ("metadata that are no strings", file(r#"{"__metadata__":{"percept.kind":1}}"#, &[])),
        ("an unknown type", file(&header("F31", "[2]", [0, 8]), &[0; 8])),
        ("a negative length", file(&header("F32", "[-2]", [0, 8]), &[0; 8])),
        ("data for another shape", file(&header("F32", "[3]", [0, 8]), &[0; 8])),
        ("an endless shape", file(&header("F32", "[4294967296,4294967296,4]", [0, 8]), &[0; 8])),
        ("six dimensions", file(&header("F32", "[1,1,1,1,1,2]", [0, 8]), &[0; 8])),
        ("data from behind", file(&header("F32", "[2]", [8, 0]), &[0; 8])),
        ("data with a hole before it", file(&header("F32", "[2]", [4, 12]), &[0; 12])),
        ("data beyond the end", file(&header("F32", "[2]", [0, 8]), &[0; 7])),
        ("more data than tensors", [&good[..], &[0]].concat()),
    ];
    for (what, bytes) in &cases {
        let [expected, got] = refused(what, ModelFile::parse("it.safetensors", &bytes[..]));
        assert!(expected.contains(".safetensors file"), "{what}: {expected}");
        assert!(!got.is_empty(), "{what}");
    }
}

#[test]
fn every_beginning_of_a_file_is_refused_and_no_changed_byte_panics() {
    let good = file(&header("F16", "[2,3]", [0, 12]), &[0x3c; 12]);
    for length in 0..good.len() {
        refused(&format!("the first {length} bytes"), ModelFile::parse("it.safetensors", &good[..length]));
    }
    let mut taken = 0;
    for at in 0..good.len() - 12 {
        for changed in [0, b'"', b'9', 0xff] {
            let mut bytes = good.clone();
            bytes[at] = changed;
            // Accepted or not: the tensors of an accepted file can be read.
            if let Ok(file) = ModelFile::parse("it.safetensors", bytes) {
                taken += 1;
                file.tensors().iter().for_each(|tensor| drop(file.tensor(tensor)));
            }
        }
    }
    assert!(taken > 0);
}

/// Returns a file with one tensor of each of these types.
fn typed() -> ModelFile<Vec<u8>> {
    let bytes = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let f64s = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors = [
        ("f16", Dtype::F16, vec![2, 3], bytes(&[0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0x8000])),
        ("bf16", Dtype::BF16, vec![4], bytes(&[0x3f80, 0x4049, 0x0001, 0xff7f])),
        ("f32", Dtype::F32, vec![1], 0.1f32.to_le_bytes().to_vec()),
        ("f64", Dtype::F64, vec![3], f64s(&[1.0 / 3.0, -1e-300, std::f64::consts::PI])),
        ("i64", Dtype::I64, vec![2], [7i64, -3].iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("scalar", Dtype::F32, vec![], 2.5f32.to_le_bytes().to_vec()),
        ("none", Dtype::F32, vec![0, 3], vec![]),
        ("f16 inf", Dtype::F16, vec![2], bytes(&[0x3c00, 0x7c00])),
        ("f64 large", Dtype::F64, vec![1], f64s(&[1e300])),
        ("u8", Dtype::U8, vec![2], vec![1, 2]),
    ];
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor")));
    let metadata = [("percept.kind".to_string(), "head".to_string())].into_iter().collect();
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), Some(metadata)).expect("a file");
    ModelFile::parse("it.safetensors", bytes).expect("a whole file")
}

#[test]
fn every_float_type_is_read_right() {
    let file = typed();
    let third = 0.333_251_95; // 0x3555: 1 + 341 / 1024, times 2^-2
    let cases: [(&str, &[usize], &[f32]); 7] = [
        ("f16", &[2, 3], &[1.0, -2.0, 5.960_464_5e-8, 65504.0, third, -0.0]),
        ("bf16", &[4], &[1.0, 3.140_625, f32::from_bits(0x0001_0000), f32::from_bits(0xff7f_0000)]),
        ("f32", &[1], &[0.1]),
        ("f64", &[3], &[0.333_333_34, -0.0, std::f32::consts::PI]),
        ("i64", &[2], &[7.0, -3.0]),
        ("scalar", &[], &[2.5]),
        ("none", &[0, 3], &[]),
    ];
    for (name, shape, want) in cases {
        assert_eq!(file.shape(name).as_deref(), Some(shape), "{name}");
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&file.tensor(name).expect(name)), bits(want), "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let file = typed();
    for (name, got) in [("f16 inf", "inf at element 1"), ("f64 large", "inf at element 0")] {
        match file.tensor(name) {
            Err(Error::NotFinite(mismatch)) => {
                assert_eq!((mismatch.at.as_str(), mismatch.got.as_str()), (&*format!("it.safetensors: {name}"), got));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(refused("u8", file.tensor("u8")), ["F16, BF16, F32, F64 or I64", "U8"]);
    assert_eq!(refused("unknown", file.tensor("w")), ["a tensor w", "none of that name"]);
    assert_eq!(file.shape("w"), None);
    match file.read("f16", &mut [0.0; 5]) {
        Err(Error::Shape(mismatch)) => {
            assert_eq!(mismatch.to_string(), "f16: expected 5 elements, got 12 bytes of F16")
        }
        other => panic!("{other:?}"),
    }
    // The kind is there, the configuration is not.
    assert_eq!(file.required_metadata("percept.kind"), Ok("head"));
    let [expected, got] = refused("config", kind_and_config(&file));
    assert!(expected.contains("\"percept.config\"") && got == "none of that name", "{expected}, {got}");
}
