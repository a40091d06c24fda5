//! Bytes that can be read at any place: a member in memory, or an open file that is too large to be held.
//!
//! A file may shrink while it is read; then reading ends early, as for any damaged archive.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rawzip::ReaderAt;

/// The bytes of an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    place: Place<'a>,
    len: u64,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

impl<'a> Source<'a> {
    /// Bytes in memory.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self { place: Place::Memory(bytes), len: bytes.len() as u64 }
    }

    /// The first `len` bytes of a file.
    pub fn file(file: &'a File, len: u64) -> Self {
        Self { place: Place::File(file), len }
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads from the beginning.
    pub fn reader(&self) -> Reader<'a> {
        Reader { source: *self, at: 0 }
    }

    /// As many of the first bytes as there are, at most the buffer's size.
    pub fn head<'b>(&self, buffer: &'b mut [u8]) -> &'b [u8] {
        let mut read = 0;
        while read < buffer.len() {
            match self.read_at(&mut buffer[read..], read as u64) {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        &buffer[..read]
    }
}

impl ReaderAt for Source<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..room];
        match self.place {
            Place::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                (&bytes[start..]).read(buffer)
            }
            Place::File(file) => FileExt::read_at(file, buffer, offset),
        }
    }
}

/// Reads a source from its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
