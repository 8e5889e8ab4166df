//! Writes npz files of images, one image at a time, and resumes them after an interruption.
//!
//! The file is a zip archive with one uncompressed entry, `arr_0.npy`, `uint8` `[N, H, W, 3]`. Its length is known in
//! advance. Only the checksum is not; it is written into the header at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::npy::npy_header;
use super::output_file::{destination, replace_file_by, unwritable};
use crate::{Error, Result};

/// The entry's name.
const NAME: &[u8] = b"arr_0.npy";
/// The offset of the checksum in the entry's header.
const CHECKSUM_AT: u64 = 14;
/// The date of the entry: 1980-01-01, the first day that zip archives can represent. It is fixed so that the bytes of
/// the file do not depend on when it was made.
const DATE: u16 = 1 << 5 | 1;
/// The value of a 32-bit size field whose size is in the 64-bit field that follows.
const IN_ZIP64: u64 = u32::MAX as u64;

/// Writes images as an npz file with a single array `arr_0`, `uint8` `[N, H, W, 3]`, the format that
/// evaluators of generated images read. Like `numpy.savez`, it does not compress. Replaces an existing
/// file at `path`.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be written, for example because its folder does not
/// exist, and [`Error::Shape`] if there is no image, or one differs in size from the first.
pub fn write_npz(path: impl AsRef<Path>, images: &[RgbImage]) -> Result<()> {
    let path = path.as_ref();
    let Some((width, height)) = images.first().map(RgbImage::dimensions) else {
        return Err(Error::shape(path.display(), "at least one picture", "none"));
    };
    if let Some(index) = images.iter().position(|image| image.dimensions() != (width, height)) {
        let (other_width, other_height) = images[index].dimensions();
        return Err(Error::shape(
            format!("{}: picture {index}", path.display()),
            format!("{width} x {height} pixels, as the first has"),
            format!("{other_width} x {other_height}"),
        ));
    }
    replace_file_by(path, |file| {
        let failed = |error: io::Error| unwritable(path, error);
        let mut rows = Rows::begin(BufWriter::new(file), images.len(), [width, height]).map_err(failed)?;
        images.iter().try_for_each(|image| rows.push(image.as_raw())).map_err(failed)?;
        rows.end().and_then(|mut file| file.flush()).map_err(failed)
    })
}

/// The point from which an interrupted file is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The number of images written.
    pub rows: usize,
    /// The CRC-32 of the entry up to the last of these images.
    pub checksum: u32,
}

/// An npz file of images that is being written. It is named `FILE.part` until it is complete, and remains under that
/// name if it is dropped earlier.
pub struct NpzFile {
    path: PathBuf,
    part: PathBuf,
    rows: Rows<BufWriter<File>>,
}

impl NpzFile {
    /// Returns the name of the file while it is incomplete.
    pub fn part(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        name.into()
    }

    /// Creates a file for `count` images of `width` x `height` pixels.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be written.
    pub fn create(path: impl AsRef<Path>, count: usize, [width, height]: [u32; 2]) -> Result<Self> {
        let path = path.as_ref();
        let part = NpzFile::part(&destination(path)?.0);
        let failed = |error: io::Error| unwritable(&part, error);
        let file = BufWriter::new(File::create(&part).map_err(failed)?);
        let rows = Rows::begin(file, count, [width, height]).map_err(failed)?;
        Ok(NpzFile { path: path.to_owned(), part, rows })
    }

    /// Resumes a file that was created for the same number of images of the same size. Keeps the images up to the mark
    /// and discards everything after them.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be written, or is shorter than the mark.
    pub fn resume(path: impl AsRef<Path>, count: usize, [width, height]: [u32; 2], mark: Mark) -> Result<Self> {
        let path = path.as_ref();
        let part = NpzFile::part(&destination(path)?.0);
        let failed = |error: io::Error| unwritable(&part, error);
        let mut file = File::options().read(true).write(true).open(&part).map_err(failed)?;
        let rows = Rows::layout(count, [width, height], mark);
        let (end, length) = (rows.end_of_rows(), file.metadata().map_err(failed)?.len());
        if length < end || mark.rows > count {
            let expected = format!("{end} bytes, of {} pictures of {count}", mark.rows);
            return Err(Error::file(part.display(), expected, format!("{length} bytes")));
        }
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(failed)?;
        let Rows { count, row, npy, mark, .. } = rows;
        let rows = Rows { to: BufWriter::new(file), count, row, npy, mark };
        Ok(NpzFile { path: path.to_owned(), part, rows })
    }

    /// Writes the next image.
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be written, and [`Error::Shape`] if the image has a different number
    /// of bytes than the others, or all images have already been written.
    pub fn push(&mut self, picture: &RgbImage) -> Result<()> {
        if picture.as_raw().len() as u64 != self.rows.row || self.rows.mark.rows == self.rows.count {
            let expected = format!("{} pictures of {} bytes", self.rows.count, self.rows.row);
            let got = format!("{} bytes after {} pictures", picture.as_raw().len(), self.rows.mark.rows);
            return Err(Error::shape(self.path.display(), expected, got));
        }
        self.rows.push(picture.as_raw()).map_err(|error| unwritable(&self.part, error))
    }

    /// Waits until all written images are on the disk, and returns the mark to pass to [`NpzFile::resume`].
    ///
    /// # Errors
    /// Returns [`Error::File`] if the file cannot be written.
    pub fn mark(&mut self) -> Result<Mark> {
        let file = &mut self.rows.to;
        file.flush().and_then(|()| file.get_ref().sync_data()).map_err(|error| unwritable(&self.part, error))?;
        Ok(self.rows.mark)
    }

    /// Completes the file and renames it to its final name, replacing an existing file.
    ///
    /// # Errors
    /// Returns [`Error::Shape`] if images are missing, and [`Error::File`] if the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let NpzFile { path, part, rows } = self;
        if rows.mark.rows != rows.count {
            return Err(Error::shape(path.display(), format!("{} pictures", rows.count), rows.mark.rows));
        }
        let failed = |error: io::Error| unwritable(&part, error);
        let file = rows.end().and_then(|file| file.into_inner().map_err(|error| error.into_error())).map_err(failed)?;
        // Without this, the new name could reach the disk before the file's contents.
        file.sync_all().map_err(failed)?;
        fs::rename(&part, destination(&path)?.0).map_err(|error| unwritable(&path, error))
    }
}

/// A writer of a zip archive whose only entry is an array of rows of bytes, one row per image.
pub(super) struct Rows<W> {
    to: W,
    count: usize,
    /// The number of bytes in an image.
    row: u64,
    /// The header of the array, which precedes the images in the entry.
    npy: Vec<u8>,
    mark: Mark,
}

impl Rows<()> {
    /// Creates the layout of an archive that contains the rows of `mark`, without anything to write to.
    fn layout(count: usize, [width, height]: [u32; 2], mark: Mark) -> Self {
        let npy = npy_header("|u1", &[count, height as usize, width as usize, 3]);
        Rows { to: (), count, row: 3 * u64::from(width) * u64::from(height), npy, mark }
    }
}

impl<W> Rows<W> {
    /// Returns the size of the entry in bytes.
    fn entry(&self) -> u64 {
        self.npy.len() as u64 + self.count as u64 * self.row
    }

    /// Returns the offset of the end of the last row written.
    fn end_of_rows(&self) -> u64 {
        self.local_header().len() as u64 + self.npy.len() as u64 + self.mark.rows as u64 * self.row
    }

    /// Returns the fields that both headers of the entry share: version, flags, method, time, date, checksum, sizes,
    /// and the lengths of the name and the extra field.
    fn common(&self, extra: usize) -> Vec<u8> {
        let version: u16 = if extra > 0 { 45 } else { 10 };
        let size = self.entry().min(IN_ZIP64) as u32;
        let mut bytes = Vec::new();
        [version, 0, 0, 0, DATE].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        [self.mark.checksum, size, size].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        [NAME.len() as u16, extra as u16].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    /// Returns the extra field with both sizes in 64 bits, or nothing if they fit 32 bits.
    fn zip64(&self) -> Vec<u8> {
        let size = self.entry();
        match size >= IN_ZIP64 {
            true => [&[1, 0, 16, 0], &size.to_le_bytes()[..], &size.to_le_bytes()].concat(),
            false => Vec::new(),
        }
    }

    fn local_header(&self) -> Vec<u8> {
        let zip64 = self.zip64();
        [b"PK\x03\x04", &self.common(zip64.len())[..], NAME, &zip64].concat()
    }

    /// Returns the central directory, which follows the entry, and the records that locate it.
    fn directory(&self) -> Vec<u8> {
        let zip64 = self.zip64();
        let version: [u8; 2] = if zip64.is_empty() { [10, 0] } else { [45, 0] };
        // No comment, first disk, no attributes, and the offset of the entry, which is 0.
        let place = [0; 14];
        let mut bytes = [b"PK\x01\x02", &version[..], &self.common(zip64.len()), &place, NAME, &zip64].concat();
        let (at, length) = (self.local_header().len() as u64 + self.entry(), bytes.len() as u64);
        if at >= IN_ZIP64 {
            bytes.extend(b"PK\x06\x06");
            bytes.extend(44u64.to_le_bytes());
            bytes.extend([45, 0, 45, 0]);
            bytes.extend([0; 8]);
            [1, 1, length, at].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
            bytes.extend(b"PK\x06\x07\0\0\0\0");
            bytes.extend((at + length).to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
        }
        bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend((at.min(IN_ZIP64) as u32).to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }
}

impl<W: Write + Seek> Rows<W> {
    /// Writes the headers that precede the rows.
    pub fn begin(mut to: W, count: usize, sides: [u32; 2]) -> io::Result<Self> {
        let mut rows = Rows::layout(count, sides, Mark::default());
        rows.mark.checksum = crc32fast::hash(&rows.npy);
        to.write_all(&rows.local_header())?;
        to.write_all(&rows.npy)?;
        let Rows { count, row, npy, mark, .. } = rows;
        Ok(Rows { to, count, row, npy, mark })
    }

    /// Writes a row. All rows have the same length.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        let mut checksum = crc32fast::Hasher::new_with_initial(self.mark.checksum);
        checksum.update(bytes);
        self.mark = Mark { rows: self.mark.rows + 1, checksum: checksum.finalize() };
        Ok(())
    }

    /// Writes the directory after the rows, and the checksum into the header before them.
    pub fn end(mut self) -> io::Result<W> {
        let directory = self.directory();
        self.to.write_all(&directory)?;
        self.to.seek(SeekFrom::Start(CHECKSUM_AT))?;
        self.to.write_all(&self.mark.checksum.to_le_bytes())?;
        Ok(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests sizes just below and above the limit of 32 bits, in sparse files.
    #[test]
    fn archives_of_any_size_are_read() {
        for count in [1, 43_690, 43_691] {
            let mut rows = Rows::layout(count, [128, 256], Mark::default());
            let header = rows.local_header();
            rows.mark.rows = count;
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&header).expect("a header");
            file.set_len(rows.end_of_rows()).expect("a hole");
            file.seek(SeekFrom::End(0)).expect("its end");
            file.write_all(&rows.directory()).expect("a directory");
            // If the offset is unknown, the reader scans the whole file for the start of the archive.
            let at_start = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
            let mut archive = zip::ZipArchive::with_config(at_start, file).expect("an archive");
            let entry = archive.by_index(0).expect("an entry");
            let place = (&*entry.name().expect("a name"), entry.data_start(), entry.size(), entry.compressed_size());
            let bytes = rows.npy.len() as u64 + count as u64 * 128 * 256 * 3;
            assert_eq!(place, ("arr_0.npy", Some(header.len() as u64), bytes, bytes));
        }
    }
}
