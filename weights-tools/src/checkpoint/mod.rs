//! Reads files of tensors in any supported format.

mod npz;
mod pickle;
mod pytorch;
mod safetensors;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use ::safetensors::Dtype;
use memmap2::Mmap;
use percept::{Error, Result};
use sha2::{Digest, Sha256};

use crate::text::hex;

/// The highest compression ratio of deflate.
const MAX_RATIO: u64 = 1032;
/// The maximum number of dimensions of a tensor, which is also NumPy's and PyTorch's. The time to gather elements
/// grows with it.
const MAX_RANK: usize = 64;
/// The maximum number of tensors, which keeps the work on names from taking minutes. A large transformer and its
/// optimizer have 3,000.
const MAX_TENSORS: usize = 1 << 17;
/// The maximum length of a tensor's name in bytes. Names are compared and shown part by part, in a time that grows
/// with the square of the number of parts.
const MAX_NAME: usize = 1024;

/// A checkpoint: named tensors that are read on demand.
pub struct Checkpoint {
    name: String,
    format: &'static str,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Tensor>,
}

/// A tensor of a checkpoint. Its elements stay in the file, so clones are cheap.
#[derive(Clone)]
pub struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Gathers or computes elements.
pub(crate) type Read = Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>;

/// The source of a tensor's elements.
#[derive(Clone)]
enum Bytes {
    /// They are stored contiguously in a file.
    Mapped { file: Arc<Mmap>, range: Range<usize> },
    /// They are gathered or computed when they are read.
    Gathered(Read),
}

impl Checkpoint {
    /// Opens a checkpoint: a .safetensors file, an index of several (`*.safetensors.index.json`), a `torch.save`
    /// file (the zip archive of PyTorch 1.6 and later, or an older format), or a NumPy `.npz`. The first bytes
    /// determine the format.
    ///
    /// The file must not change while it is open.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be read or has another format.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut checkpoint = match first_bytes(path)?[..] {
            // A .safetensors file begins with the length of its header in eight bytes. Eight bytes of text would
            // be a length above the limit.
            [l0, l1, l2, l3, l4, l5, l6, l7, b'{']
                if u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]) <= safetensors::MAX_HEADER =>
            {
                safetensors::single(path)?
            }
            [b'{', ..] => safetensors::sharded(path)?,
            // NumPy and PyTorch both write zip archives.
            [b'P', b'K', ..] => match npz::open(path)? {
                Some(arrays) => arrays,
                None => pytorch::open_archive(path)?,
            },
            _ => pytorch::open(path)?,
        };
        checkpoint.name = name;
        checkpoint.sorted()
    }

    /// Opens several files that together form one checkpoint.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open`], [`Error::File`] if two files have a tensor of the same name,
    /// and [`Error::Config`] if there are no files.
    pub fn open_all(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut files = paths.iter().map(|path| Checkpoint::open(path.as_ref()));
        let mut whole = files.next().unwrap_or_else(|| Err(Error::config("SRC", "a file or more", "none")))?;
        for file in files {
            let file = file?;
            whole.name = format!("{}, {}", whole.name, file.name);
            whole.metadata.extend(file.metadata);
            whole.tensors.extend(file.tensors);
        }
        whole.sorted()
    }

    /// Sorts the tensors, and checks that they are within the limits and that their names differ.
    fn sorted(mut self) -> Result<Self> {
        if self.tensors.len() > MAX_TENSORS {
            let expected = format!("at most {MAX_TENSORS} tensors");
            return Err(Error::file(self.name, expected, self.tensors.len()));
        }
        if let Some(long) = self.tensors.iter().map(|tensor| tensor.name.len()).find(|&length| length > MAX_NAME) {
            let expected = format!("names of at most {MAX_NAME} bytes");
            return Err(Error::file(self.name, expected, format!("one of {long}")));
        }
        self.tensors.sort_by(|a, b| natural(&a.name, &b.name));
        match self.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(Error::file(self.name, "tensors of different names", format!("{} twice", pair[0].name))),
            None => Ok(self),
        }
    }

    /// Returns the name that errors use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file's format, for people.
    pub fn format(&self) -> &str {
        self.format
    }

    /// Returns the file's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns all tensors, sorted by name. Numbers in names sort by value.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

impl Tensor {
    /// Creates a tensor whose elements are computed when they are read. `name` is the name for errors, that of a
    /// tensor in the checkpoint.
    pub(crate) fn computed(name: String, dtype: Dtype, shape: Vec<usize>, read: Read) -> Self {
        Tensor { name, dtype, shape, bytes: Bytes::Gathered(read) }
    }

    /// Returns its path through the checkpoint's dictionaries, joined by dots: `teacher.module.head.mlp.0.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns its shape, which is empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of its elements.
    pub fn elements(&self) -> usize {
        // If one dimension is 0, the others may be so large that their product overflows.
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// Returns the size of its elements in bytes.
    pub fn byte_len(&self) -> usize {
        (self.elements() * self.dtype.bitsize()).div_ceil(8)
    }

    /// Returns its elements, row-major and little-endian, whatever their strides in the file.
    ///
    /// # Errors
    /// Returns [`Error::File`] if they cannot be read.
    pub fn read(&self) -> Result<Cow<'_, [u8]>> {
        match &self.bytes {
            Bytes::Mapped { file, range } => Ok(Cow::Borrowed(&file[range.clone()])),
            Bytes::Gathered(gather) => {
                let bytes = gather().map_err(|error| Error::file(&self.name, "elements that can be read", error))?;
                match bytes.len() == self.byte_len() {
                    true => Ok(Cow::Owned(bytes)),
                    false => Err(Error::file(&self.name, format!("{} bytes", self.byte_len()), bytes.len())),
                }
            }
        }
    }
}

/// Returns the first nine bytes of a file, or all of a shorter file.
fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    open_file(path)?.take(9).read_to_end(&mut first).map_err(|error| unreadable(path, error))?;
    Ok(first)
}

/// Returns the SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(&map_file(path)?)))
}

fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    match file.metadata().map_err(|error| unreadable(path, error))?.is_file() {
        true => Ok(file),
        false => Err(unreadable(path, "a folder or device")),
    }
}

fn map_file(path: &Path) -> Result<Mmap> {
    let file = open_file(path)?;
    // SAFETY: the map is only read, and every offset is checked against the length at the time of opening. The
    // caller ensures, as documented, that no other program changes the file meanwhile.
    unsafe { Mmap::map(&file) }.map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, got: impl ToString) -> Error {
    let expected = "a checkpoint: .safetensors, the index of several, a file of torch.save, or .npz";
    Error::file(path.display().to_string(), expected, got.to_string())
}

/// Compares names part by part. Parts that are numbers compare by value.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let part = |part: &str| (part.parse::<u64>().map_err(|_| ()), part.to_string());
    // Numbers sort before words, as `Ok` sorts before `Err`.
    a.split('.').map(part).cmp(b.split('.').map(part))
}
