//! Building blocks of numpy's file formats.

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Returns the options of an uncompressed zip entry of `bytes` bytes.
pub(crate) fn stored(bytes: u64) -> SimpleFileOptions {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    options.large_file(bytes >= u64::from(u32::MAX))
}

/// Returns the header of an array in numpy's format, version 1.0: a Python dictionary, padded so that
/// the data starts at a multiple of 64 bytes. `descr` is the element type in numpy's notation.
pub(crate) fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10;
    // A Python tuple of one element has a trailing comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = shape.join(", ");
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    let mut dictionary = dictionary.into_bytes();
    let length = (PREFIX + dictionary.len() + 1).next_multiple_of(64) - PREFIX;
    dictionary.resize(length - 1, b' ');
    dictionary.push(b'\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(dictionary);
    header
}
