//! Which files are read, and their bytes: folders are walked in sorted order without following links, zstd is unpacked on
//! the way within limits, `-` is standard input. A regular file is read up to the length that it had when it was opened,
//! so one that grows has an end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::Format;
use crate::limits::{FREE_EXPANSION, MAX_EXPANSION, MAX_FILES, MAX_FOLDER_DEPTH, MAX_WINDOW_LOG, SNIFFED_BYTES};
use crate::trouble::{Code, Trouble};

/// Endings of files that are read when their format is not named; with `.zst` behind them as well.
const ENDINGS: [&str; 7] = ["evtx", "json", "jsonl", "ndjson", "log", "txt", "batch"];
/// First bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Something to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// How it is named in matches.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".into(),
        }
    }
}

/// What the arguments of a command line name.
#[derive(Debug, Default)]
pub struct Inputs {
    /// What is to be read, in the order of the arguments, each folder sorted.
    pub found: Vec<Input>,
    /// Arguments and files that cannot be read.
    pub missing: Vec<(PathBuf, String)>,
    /// Files of walked folders that were left out because their ending is none of an event file.
    pub passed_over: u64,
}

/// Finds the files. In folders, the ending of a name decides whether it is read, unless the format is named.
pub fn find(arguments: &[PathBuf], format: Option<Format>) -> Inputs {
    let mut inputs = Inputs::default();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            inputs.found.push(Input::Stdin);
        } else if argument.is_dir() {
            walk(argument, format, &mut inputs);
        } else {
            match std::fs::metadata(argument) {
                Ok(_) => inputs.found.push(Input::File(argument.clone())),
                Err(error) => inputs.missing.push((argument.clone(), error.to_string())),
            }
        }
    }
    inputs
}

fn walk(folder: &Path, format: Option<Format>, inputs: &mut Inputs) {
    for entry in walkdir::WalkDir::new(folder).max_depth(MAX_FOLDER_DEPTH).sort_by_file_name() {
        match entry {
            Ok(entry) if !entry.file_type().is_file() => {}
            Ok(entry) if !is_wanted(entry.path(), format) => inputs.passed_over += 1,
            Ok(entry) if inputs.found.len() >= MAX_FILES => {
                return inputs.missing.push((entry.into_path(), format!("more than {MAX_FILES} files; name a smaller folder")));
            }
            Ok(entry) => inputs.found.push(Input::File(entry.into_path())),
            Err(error) => {
                let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                inputs.missing.push((error.path().unwrap_or(folder).to_path_buf(), why));
            }
        }
    }
}

fn is_wanted(path: &Path, format: Option<Format>) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match format {
        None => ENDINGS.contains(&ending),
        Some(Format::Evtx) => ending == "evtx",
        Some(_) => ending != "evtx",
    }
}

/// An open input.
pub struct Opened {
    reader: Box<dyn Read + Send>,
    /// Its first bytes, which the reader gives again.
    head: Vec<u8>,
}

impl Opened {
    /// Opens an input and unpacks it on the way. Bytes that are read of the file itself are added to `progress`.
    ///
    /// # Errors
    /// It cannot be opened, or its first bytes cannot be read.
    pub fn open(input: &Input, progress: &Arc<AtomicU64>) -> Result<Self, Trouble> {
        let unreadable = |error: io::Error| Trouble::whole(Code::Unreadable, error.to_string());
        let plain: Box<dyn Read + Send> = match input {
            Input::Stdin => Box::new(io::stdin()),
            Input::File(path) => {
                let file = File::open(path).map_err(unreadable)?;
                let metadata = file.metadata().map_err(unreadable)?;
                if metadata.is_file() { Box::new(file.take(metadata.len())) } else { Box::new(file) }
            }
        };
        Self::from_reader(plain, progress)
    }

    /// The same for bytes from anywhere.
    ///
    /// # Errors
    /// Its first bytes cannot be read.
    pub fn from_reader(plain: Box<dyn Read + Send>, progress: &Arc<AtomicU64>) -> Result<Self, Trouble> {
        let unreadable = |error: io::Error| Trouble::whole(Code::Unreadable, error.to_string());
        let read = Arc::new(AtomicU64::new(0));
        let mut counted = Counted { inner: plain, read: Arc::clone(&read), progress: Arc::clone(progress) };
        let magic = take(&mut counted, ZSTD_MAGIC.len()).map_err(unreadable)?;
        let is_zstd = magic == ZSTD_MAGIC;
        let whole = io::Cursor::new(magic).chain(counted);
        let mut reader: Box<dyn Read + Send> =
            if is_zstd { Box::new(Unpacked::new(whole, read).map_err(unreadable)?) } else { Box::new(whole) };
        let mut head = Vec::new();
        if let Err(error) = reader.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut head) {
            // What came before is read all the same, and then this is met again.
            reader = Box::new(Failed(Some(error)));
        }
        Ok(Self { reader, head })
    }

    /// The first bytes.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// All bytes from the first.
    pub fn into_reader(self) -> impl Read + Send {
        io::Cursor::new(self.head).chain(self.reader)
    }
}

/// What a failure to read on is called.
pub(crate) fn trouble_of(error: &io::Error) -> Trouble {
    let code = if error.get_ref().is_some_and(|inner| inner.is::<Unpacking>()) { Code::Compression } else { Code::Unreadable };
    Trouble::whole(code, error.to_string())
}

/// As many bytes as there are, up to `wanted`.
fn take(reader: &mut impl Read, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(wanted as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A stream that failed already.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts what is read of a file.
struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    progress: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A zstd stream that may not become more than [`MAX_EXPANSION`] times its size.
struct Unpacked<R: Read> {
    inner: zstd::Decoder<'static, BufReader<R>>,
    read: Arc<AtomicU64>,
    made: u64,
}

/// Why unpacking stopped.
#[derive(Debug, thiserror::Error)]
enum Unpacking {
    #[error("the zstd stream is damaged or cut off: {0}; what came before was read")]
    Damaged(String),
    #[error("{0} bytes became more than {1}: this is a bomb and not an event log; what came before was read")]
    Bomb(u64, u64),
}

impl<R: Read> Unpacked<R> {
    fn new(inner: R, read: Arc<AtomicU64>) -> io::Result<Self> {
        let mut inner = zstd::Decoder::new(inner)?;
        inner.window_log_max(MAX_WINDOW_LOG)?;
        Ok(Self { inner, read, made: 0 })
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| io::Error::other(Unpacking::Damaged(error.to_string())))?;
        self.made += count as u64;
        let read = self.read.load(Ordering::Relaxed);
        if self.made > FREE_EXPANSION && self.made / MAX_EXPANSION > read {
            return Err(io::Error::other(Unpacking::Bomb(read, self.made)));
        }
        Ok(count)
    }
}
