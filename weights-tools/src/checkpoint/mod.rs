//! A file of tensors, of any of the formats that people have.

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

use crate::model_file::hex;

/// By how much deflate can shrink at most.
const MAX_RATIO: u64 = 1032;
/// The most dimensions of a tensor: NumPy's and PyTorch's own bound. Elements are gathered in a time that grows with it.
const MAX_RANK: usize = 64;
/// The most tensors: what is done with names should not take minutes. A large transformer and its optimizer have 3,000.
const MAX_TENSORS: usize = 1 << 17;
/// The most bytes of a tensor's name. Names are compared and shown part by part, in a time that grows with the square of a
/// name's parts.
const MAX_NAME: usize = 1024;

/// A checkpoint whose tensors are named, and not read before they are asked for.
pub struct Checkpoint {
    name: String,
    format: &'static str,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Tensor>,
}

/// A tensor of a checkpoint. Its elements stay in the file; copies of this are cheap.
#[derive(Clone)]
pub struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Gathers or makes elements.
pub(crate) type Read = Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>;

/// Where the elements of a tensor come from.
#[derive(Clone)]
enum Bytes {
    /// They lie in a file as they are.
    Mapped { file: Arc<Mmap>, range: Range<usize> },
    /// They are gathered.
    Gathered(Read),
}

impl Checkpoint {
    /// Opens a .safetensors file, the index of several (`*.safetensors.index.json`), a file of `torch.save`: the zip archive
    /// of PyTorch 1.6 and later, or what came before; or an `.npz` of NumPy. What it is is told by its first bytes. It must
    /// not be changed while it is open.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, or is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut checkpoint = match first_bytes(path)?[..] {
            // Eight bytes of length, which as text would be more than any header may have.
            [l0, l1, l2, l3, l4, l5, l6, l7, b'{']
                if u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]) <= safetensors::MAX_HEADER =>
            {
                safetensors::single(path)?
            }
            [b'{', ..] => safetensors::sharded(path)?,
            // Two kinds of zip archive.
            [b'P', b'K', ..] => match npz::open(path)? {
                Some(arrays) => arrays,
                None => pytorch::open_archive(path)?,
            },
            _ => pytorch::open(path)?,
        };
        checkpoint.name = name;
        checkpoint.sorted()
    }

    /// Opens several files that together are one checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and [`Error::File`] where two have a tensor of one name.
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

    /// The tensors in order, each name once.
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

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of file it is, for people.
    pub fn format(&self) -> &str {
        self.format
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All tensors, by name: numbers in names in the order of numbers.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

impl Tensor {
    /// A tensor whose elements are made when they are read; `name` says from which of the checkpoint.
    pub(crate) fn computed(name: String, dtype: Dtype, shape: Vec<usize>, read: Read) -> Self {
        Tensor { name, dtype, shape, bytes: Bytes::Gathered(read) }
    }

    /// Its path through the checkpoint's dictionaries, with points between: `teacher.module.head.mlp.0.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        // Of an empty one, the other sizes may be anything.
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// Bytes of its elements.
    pub fn byte_len(&self) -> usize {
        (self.elements() * self.dtype.bitsize()).div_ceil(8)
    }

    /// Its elements, row-major and little-endian, whatever the strides that the file has them at.
    ///
    /// # Errors
    /// [`Error::File`] where they cannot be read.
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

/// As many of the first nine bytes as there are.
fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    open_file(path)?.take(9).read_to_end(&mut first).map_err(|error| unreadable(path, error))?;
    Ok(first)
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`Error::File`] where it cannot be read.
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
    // SAFETY: the map is only read. That no other program changes the file meanwhile is the caller's part, as documented; every
    // offset is checked against the length at the time of opening.
    unsafe { Mmap::map(&file) }.map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, got: impl ToString) -> Error {
    let expected = "a checkpoint: .safetensors, the index of several, a file of torch.save, or .npz";
    Error::file(path.display().to_string(), expected, got.to_string())
}

/// The order of names in which numbers between points count as numbers.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let part = |part: &str| (part.parse::<u64>().map_err(|_| ()), part.to_string());
    // A number before a word: Ok before Err.
    a.split('.').map(part).cmp(b.split('.').map(part))
}
