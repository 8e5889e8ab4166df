//! Mutates files inside their containers.
//!
//! If a byte changes at random, lengths and checksums are wrong, and most of the code that would run after their
//! checks is never reached. So most mutations take a container apart, change a part, and put it together again.

use std::io::{Cursor, Read, Write};

use libfuzzer_sys::fuzzer_mutate;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The maximum number of bytes of a part.
const MAX_PART: usize = 1 << 16;

/// The structure of a file.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// A single piece.
    Plain,
    /// The length of a header, the header, and the elements.
    Safetensors,
    /// An index followed by several .safetensors files: [`files`].
    Sharded,
    /// The length of a header, the header, and the elements, as in NumPy's format.
    Npy,
    /// A zip archive of files of a layout.
    Zip(&'static Layout),
    /// A tar archive of files.
    Tar,
}

/// A part of a file: its name and its bytes.
type Part = (String, Vec<u8>);

/// A generator of random numbers: Marsaglia's xorshift.
pub struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }
}

impl Layout {
    /// Mutates the first `size` bytes of `data`, and returns their new number, which is at most `max_size`.
    pub fn mutate(self, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
        let mut random = Random(u64::from(seed) << 1 | 1);
        let changed = self.changed(&data[..size], &mut random);
        if changed.len() > max_size {
            return fuzzer_mutate(data, size, max_size);
        }
        data[..changed.len()].copy_from_slice(&changed);
        changed.len()
    }

    fn changed(self, bytes: &[u8], random: &mut Random) -> Vec<u8> {
        let parts = if random.below(8) == 0 { None } else { self.split(bytes) };
        let Some(mut parts) = parts.filter(|parts| !parts.is_empty()) else {
            return mutated(bytes);
        };
        let index = random.below(parts.len());
        let part = &mut parts[index].1;
        *part = self.inner().changed(part, random);
        self.join(&parts, random).unwrap_or_else(|| mutated(bytes))
    }

    /// Returns the layout of the parts.
    fn inner(self) -> Layout {
        match self {
            // The index does not have this layout, so it is mutated as one piece.
            Layout::Sharded => Layout::Safetensors,
            Layout::Zip(inner) => *inner,
            Layout::Plain | Layout::Safetensors | Layout::Npy | Layout::Tar => Layout::Plain,
        }
    }

    fn split(self, bytes: &[u8]) -> Option<Vec<Part>> {
        let named = |parts: [&[u8]; 2]| parts.map(|part| (String::new(), part.to_vec())).to_vec();
        match self {
            Layout::Plain => None,
            Layout::Safetensors => {
                let (length, rest) = bytes.split_first_chunk::<8>()?;
                let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
                Some(named([rest.get(..length)?, rest.get(length..)?]))
            }
            Layout::Npy => {
                let length = usize::from(u16::from_le_bytes(*bytes.get(8..)?.first_chunk::<2>()?));
                Some(named([bytes.get(10..)?.get(..length)?, bytes.get(10 + length..)?]))
            }
            Layout::Sharded => Some(files(bytes).map(|file| (String::new(), file.to_vec())).to_vec()),
            Layout::Zip(_) => {
                let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
                let mut parts = Vec::new();
                for index in 0..archive.len().min(32) {
                    let entry = archive.by_index(index).ok()?;
                    let (name, mut part) = (entry.name().ok()?.into_owned(), Vec::new());
                    entry.take(MAX_PART as u64).read_to_end(&mut part).ok()?;
                    parts.push((name, part));
                }
                Some(parts)
            }
            Layout::Tar => {
                let mut archive = tar::Archive::new(bytes);
                let mut parts = Vec::new();
                for entry in archive.entries().ok()?.take(32) {
                    let entry = entry.ok()?;
                    let (name, mut part) = (entry.path().ok()?.to_str()?.to_string(), Vec::new());
                    entry.take(MAX_PART as u64).read_to_end(&mut part).ok()?;
                    parts.push((name, part));
                }
                Some(parts)
            }
        }
    }

    /// Assembles a file from its parts, with correct lengths and checksums.
    fn join(self, parts: &[Part], random: &mut Random) -> Option<Vec<u8>> {
        let bytes = |index: usize| parts.get(index).map_or(&[][..], |(_, part)| part);
        match self {
            Layout::Plain => None,
            Layout::Safetensors => Some([&(bytes(0).len() as u64).to_le_bytes(), bytes(0), bytes(1)].concat()),
            Layout::Npy => {
                let length = u16::try_from(bytes(0).len()).ok()?;
                Some([b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], bytes(0), bytes(1)].concat())
            }
            Layout::Sharded => {
                let length = |index: usize| u32::try_from(bytes(index).len()).map(u32::to_le_bytes).ok();
                Some([&length(0)?[..], &length(1)?, bytes(0), bytes(1), bytes(2)].concat())
            }
            Layout::Zip(_) => {
                let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
                for (name, part) in parts {
                    let method = match random.below(8) {
                        0 => CompressionMethod::Deflated,
                        _ => CompressionMethod::Stored,
                    };
                    let options = SimpleFileOptions::default().compression_method(method);
                    archive.start_file(name.as_str(), options).ok()?;
                    archive.write_all(part).ok()?;
                }
                archive.finish().ok().map(Cursor::into_inner)
            }
            Layout::Tar => {
                let mut archive = tar::Builder::new(Vec::new());
                for (name, part) in parts {
                    let mut header = tar::Header::new_ustar();
                    header.set_size(part.len() as u64);
                    archive.append_data(&mut header, name, &part[..]).ok()?;
                }
                archive.into_inner().ok()
            }
        }
    }
}

/// Splits an input into three files: an index and two shards. The input begins with the lengths of the first two.
pub fn files(bytes: &[u8]) -> [&[u8]; 3] {
    let Some((lengths, rest)) = bytes.split_first_chunk::<8>() else { return [bytes, &[], &[]] };
    let length =
        |at: usize| u32::from_le_bytes([lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]]) as usize;
    let (index, rest) = rest.split_at(length(0).min(rest.len()));
    let (first, second) = rest.split_at(length(4).min(rest.len()));
    [index, first, second]
}

/// Returns the bytes as libFuzzer changes them, using its dictionaries.
fn mutated(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let room = length + 64.max(length / 4);
    let mut changed = bytes.to_vec();
    changed.resize(room, 0);
    let length = fuzzer_mutate(&mut changed, length, room);
    changed.truncate(length);
    changed
}
