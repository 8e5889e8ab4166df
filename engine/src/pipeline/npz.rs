//! npz files of pictures that are written as they come, and go on after an interruption.
//!
//! Such a file is a zip archive with one entry that is not compressed, `arr_0.npy`, `uint8` `[N, H, W, 3]`. How long it will be is
//! known beforehand; the checksum alone is not, which is put into the header at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::output::{destination, npy_header, unwritable};
use crate::{Error, Result};

/// The entry's name.
const NAME: &[u8] = b"arr_0.npy";
/// Where the checksum stands in the entry's header.
const CHECKSUM_AT: u64 = 14;
/// 1980-01-01, the first day that archives know, as the date of all: what is in the file does not depend on when it was made.
const DATE: u16 = 1 << 5 | 1;
/// A size that is in the 64-bit field behind.
const IN_ZIP64: u64 = u32::MAX as u64;

/// What an interrupted file goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Pictures that are there.
    pub rows: usize,
    /// CRC-32 of all of the entry before them and of theirs.
    pub checksum: u32,
}

/// An npz file of pictures that is being written under the name `FILE.part`, and gets its own when it is whole. Dropped before
/// that, it stays.
pub struct NpzFile {
    path: PathBuf,
    part: PathBuf,
    rows: Rows<BufWriter<File>>,
}

impl NpzFile {
    /// The name of a file that is not whole yet.
    pub fn part(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        name.into()
    }

    /// Begins a file for `count` pictures of `width` x `height` pixels.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn create(path: &Path, count: usize, [width, height]: [u32; 2]) -> Result<Self> {
        let part = NpzFile::part(&destination(path)?.0);
        let failed = |error: io::Error| unwritable(&part, error);
        let file = BufWriter::new(File::create(&part).map_err(failed)?);
        let rows = Rows::begin(file, count, [width, height]).map_err(failed)?;
        Ok(NpzFile { path: path.to_owned(), part, rows })
    }

    /// Goes on with one that was begun for as many pictures of that size, behind those of a mark; what is behind them is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written, or is shorter than the mark.
    pub fn resume(path: &Path, count: usize, [width, height]: [u32; 2], mark: Mark) -> Result<Self> {
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

    /// Writes the next picture.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written, [`Error::Shape`] where it has another size or all are there.
    pub fn push(&mut self, picture: &RgbImage) -> Result<()> {
        if picture.as_raw().len() as u64 != self.rows.row || self.rows.mark.rows == self.rows.count {
            let expected = format!("{} pictures of {} bytes", self.rows.count, self.rows.row);
            let got = format!("{} bytes after {} pictures", picture.as_raw().len(), self.rows.mark.rows);
            return Err(Error::shape(self.path.display(), expected, got));
        }
        self.rows.push(picture.as_raw()).map_err(|error| unwritable(&self.part, error))
    }

    /// Waits until what was written is on the disk; what [`NpzFile::resume`] goes on from.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn mark(&mut self) -> Result<Mark> {
        let file = &mut self.rows.to;
        file.flush().and_then(|()| file.get_ref().sync_data()).map_err(|error| unwritable(&self.part, error))?;
        Ok(self.rows.mark)
    }

    /// Ends the file and gives it its name; one of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Shape`] where pictures are missing, [`Error::File`] where it cannot be written.
    pub fn finish(self) -> Result<()> {
        let NpzFile { path, part, rows } = self;
        if rows.mark.rows != rows.count {
            return Err(Error::shape(path.display(), format!("{} pictures", rows.count), rows.mark.rows));
        }
        let failed = |error: io::Error| unwritable(&part, error);
        let file = rows.end().and_then(|file| file.into_inner().map_err(|error| error.into_error())).map_err(failed)?;
        // Else the name could reach the disk before what it names.
        file.sync_all().map_err(failed)?;
        fs::rename(&part, destination(&path)?.0).map_err(|error| unwritable(&path, error))
    }
}

/// The archive around rows of bytes that are written to `to`.
pub(super) struct Rows<W> {
    to: W,
    count: usize,
    /// Bytes of a picture.
    row: u64,
    /// What stands before the pictures in the entry.
    npy: Vec<u8>,
    mark: Mark,
}

impl Rows<()> {
    /// One that is written nowhere yet, of which the rows of a mark are there.
    fn layout(count: usize, [width, height]: [u32; 2], mark: Mark) -> Self {
        let npy = npy_header("|u1", &[count, height as usize, width as usize, 3]);
        Rows { to: (), count, row: 3 * u64::from(width) * u64::from(height), npy, mark }
    }
}

impl<W> Rows<W> {
    /// Bytes of the whole entry.
    fn entry(&self) -> u64 {
        self.npy.len() as u64 + self.count as u64 * self.row
    }

    /// Bytes of the file up to the last row that is there.
    fn end_of_rows(&self) -> u64 {
        self.local_header().len() as u64 + self.npy.len() as u64 + self.mark.rows as u64 * self.row
    }

    /// What stands in both headers of the entry: versions, flags, method, time, date, checksum, sizes, lengths of name and of
    /// what follows it.
    fn common(&self, extra: usize) -> Vec<u8> {
        let version: u16 = if extra > 0 { 45 } else { 10 };
        let size = self.entry().min(IN_ZIP64) as u32;
        let mut bytes = Vec::new();
        [version, 0, 0, 0, DATE].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        [self.mark.checksum, size, size].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        [NAME.len() as u16, extra as u16].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    /// The two sizes in 64 bits, where they need them.
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

    /// The directory, which stands behind the entry, and where it begins and ends.
    fn directory(&self) -> Vec<u8> {
        let zip64 = self.zip64();
        let version: [u8; 2] = if zip64.is_empty() { [10, 0] } else { [45, 0] };
        // No comment, first disk, no attributes; the entry stands at the beginning.
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
    /// Writes what stands before the rows.
    pub fn begin(mut to: W, count: usize, sides: [u32; 2]) -> io::Result<Self> {
        let mut rows = Rows::layout(count, sides, Mark::default());
        rows.mark.checksum = crc32fast::hash(&rows.npy);
        to.write_all(&rows.local_header())?;
        to.write_all(&rows.npy)?;
        let Rows { count, row, npy, mark, .. } = rows;
        Ok(Rows { to, count, row, npy, mark })
    }

    /// Writes a row, which is as long as all.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        let mut checksum = crc32fast::Hasher::new_with_initial(self.mark.checksum);
        checksum.update(bytes);
        self.mark = Mark { rows: self.mark.rows + 1, checksum: checksum.finalize() };
        Ok(())
    }

    /// Writes what stands behind the rows, and the checksum before them.
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

    /// Sizes on both sides of what 32 bits hold, in files with holes.
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
