//! The C interface of `libchdb.so`, and the only `unsafe` code of this crate that calls into it.
//!
//! Owns: the loaded library (never unloaded: the engine keeps threads for the life of the process), connections,
//! and result buffers. What happens on failure: a missing symbol is an [`EngineError::Load`], an engine exception
//! an [`EngineError::Query`]; nothing here panics on what the engine returns.
//!
//! Declared after the library's public header (`chdb.h`, version 26.5): one connection runs one statement at a
//! time, several connections on one path run side by side, and the last one closed shuts the engine down.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use super::EngineError;

/// `chdb_connection`: a pointer the engine owns.
type RawConnection = *mut c_void;
/// `chdb_result *`.
type RawResult = *mut c_void;

type ConnectFn = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut RawConnection;
type CloseFn = unsafe extern "C" fn(*mut RawConnection);
type SignalsFn = unsafe extern "C" fn(c_int);
type DestroyFn = unsafe extern "C" fn(RawResult);
type BufferFn = unsafe extern "C" fn(RawResult) -> *const c_char;
type LengthFn = unsafe extern "C" fn(RawResult) -> usize;
type CountFn = unsafe extern "C" fn(RawResult) -> u64;
type QueryFn = unsafe extern "C" fn(
    RawConnection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> RawResult;

/// The functions we call, resolved once.
struct Functions {
    connect: ConnectFn,
    close: CloseFn,
    query: QueryFn,
    destroy: DestroyFn,
    error: BufferFn,
    buffer: BufferFn,
    length: LengthFn,
    rows_read: CountFn,
    bytes_read: CountFn,
    rows_written: CountFn,
    bytes_written: CountFn,
}

/// The loaded engine library. Cheap to copy; lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    functions: &'static Functions,
}

impl Engine {
    /// Loads the library and switches its signal handlers off (SIGTERM and crashes stay ours).
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Load { path: path.to_owned(), reason };
        // SAFETY: loading runs the library's initialisers. The operator chose the file, setup verifies its
        // checksum, and the process has already given up its privileges when this is called.
        let library = unsafe { Library::new(path) }.map_err(|e| failed(e.to_string()))?;
        let library: &'static Library = Box::leak(Box::new(library));
        let functions = Functions::resolve(library).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the signature is the header's; the call only sets a flag and default dispositions, and runs
        // before any thread of ours or the engine's depends on a handler.
        unsafe {
            let switch = library.get::<SignalsFn>(b"chdb_set_signal_handlers_enabled\0").map_err(|e| failed(e.to_string()))?;
            switch(0);
        }
        Ok(Self { functions: Box::leak(Box::new(functions)) })
    }

    /// Opens a connection; the first one boots the engine on `folder` with the settings file `config`.
    pub(crate) fn connect(self, folder: &Path, config: &Path) -> Result<Connection, EngineError> {
        let failed = || EngineError::Connect { path: PathBuf::from(folder) };
        let arguments =
            ["clickhouse".to_owned(), format!("--path={}", folder.display()), format!("--config-file={}", config.display())];
        let owned: Vec<CString> = arguments.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(|_| failed())?;
        let mut pointers: Vec<*mut c_char> = owned.iter().map(|a| a.as_ptr().cast_mut()).collect();
        // SAFETY: `pointers` holds `len` NUL-terminated strings that outlive the call; the engine copies them.
        let handle = unsafe { (self.functions.connect)(pointers.len() as c_int, pointers.as_mut_ptr()) };
        if handle.is_null() {
            return Err(failed());
        }
        Ok(Connection { functions: self.functions, handle })
    }
}

impl Functions {
    fn resolve(library: &'static Library) -> Result<Self, libloading::Error> {
        // SAFETY: each type above is the header's signature for that name; the library is never unloaded, so
        // the copied function pointers stay valid.
        unsafe {
            Ok(Self {
                connect: *library.get::<ConnectFn>(b"chdb_connect\0")?,
                close: *library.get::<CloseFn>(b"chdb_close_conn\0")?,
                query: *library.get::<QueryFn>(b"chdb_query_with_params_n\0")?,
                destroy: *library.get::<DestroyFn>(b"chdb_destroy_query_result\0")?,
                error: *library.get::<BufferFn>(b"chdb_result_error\0")?,
                buffer: *library.get::<BufferFn>(b"chdb_result_buffer\0")?,
                length: *library.get::<LengthFn>(b"chdb_result_length\0")?,
                rows_read: *library.get::<CountFn>(b"chdb_result_rows_read\0")?,
                bytes_read: *library.get::<CountFn>(b"chdb_result_bytes_read\0")?,
                rows_written: *library.get::<CountFn>(b"chdb_result_rows_written\0")?,
                bytes_written: *library.get::<CountFn>(b"chdb_result_bytes_written\0")?,
            })
        }
    }
}

/// One connection: runs one statement at a time (`&mut self`). Closed on drop.
pub(crate) struct Connection {
    functions: &'static Functions,
    handle: *mut RawConnection,
}

// SAFETY: the engine allows a connection to be used from any thread, one statement at a time; `&mut self` on
// `query` gives the second half.
unsafe impl Send for Connection {}

impl Connection {
    /// Runs `sql`; `parameters` are bound by the engine to `{name:Type}` and never become SQL text.
    ///
    /// `format` is the output format when the statement names none.
    pub(crate) fn query(&mut self, sql: &[u8], format: &str, parameters: &[(String, Vec<u8>)]) -> Result<Output, EngineError> {
        let names: Vec<*const c_char> = parameters.iter().map(|(n, _)| n.as_ptr().cast()).collect();
        let name_lengths: Vec<usize> = parameters.iter().map(|(n, _)| n.len()).collect();
        let values: Vec<*const c_char> = parameters.iter().map(|(_, v)| v.as_ptr().cast()).collect();
        let value_lengths: Vec<usize> = parameters.iter().map(|(_, v)| v.len()).collect();
        // SAFETY: `handle` is a live connection (closed only in drop); every pointer comes with its length and
        // outlives the call; the four arrays hold `parameters.len()` elements each.
        let raw = unsafe {
            (self.functions.query)(
                *self.handle,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        Output { functions: self.functions, raw }.checked()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: `handle` came from `chdb_connect` and is closed exactly once, here.
        unsafe { (self.functions.close)(self.handle) }
    }
}

/// A finished query's result; frees the engine's buffer on drop. `as_ref` gives the result bytes.
pub(crate) struct Output {
    functions: &'static Functions,
    raw: RawResult,
}

// SAFETY: a result is immutable once returned, and is freed once, by its single owner.
unsafe impl Send for Output {}
// SAFETY: as above: shared access only reads.
unsafe impl Sync for Output {}

impl Output {
    fn checked(self) -> Result<Self, EngineError> {
        if self.raw.is_null() {
            return Err(EngineError::Query { code: 0, message: "the engine returned no result".into() });
        }
        // SAFETY: `raw` is a live result; the error text is NUL-terminated and lives as long as the result.
        let message = unsafe {
            let text = (self.functions.error)(self.raw);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        match message {
            Some(message) if !message.is_empty() => Err(EngineError::Query { code: exception_code(&message), message }),
            _ => Ok(self),
        }
    }

    /// Rows and bytes read and written, as the engine counted them.
    pub(crate) fn counts(&self) -> Counts {
        // SAFETY: `raw` is a live, successful result (checked at construction).
        unsafe {
            Counts {
                read_rows: (self.functions.rows_read)(self.raw),
                read_bytes: (self.functions.bytes_read)(self.raw),
                written_rows: (self.functions.rows_written)(self.raw),
                written_bytes: (self.functions.bytes_written)(self.raw),
            }
        }
    }
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `buffer` and `length` describe one allocation that lives until `destroy`, which only drop calls.
        unsafe {
            let (start, length) = ((self.functions.buffer)(self.raw), (self.functions.length)(self.raw));
            if start.is_null() || length == 0 { &[] } else { std::slice::from_raw_parts(start.cast(), length) }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: freed exactly once; no borrow of the buffer outlives the owner.
            unsafe { (self.functions.destroy)(self.raw) }
        }
    }
}

/// What a query read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
}

/// Takes the number out of `Code: N. DB::Exception: ...`; 0 when there is none.
pub(crate) fn exception_code(message: &str) -> u32 {
    let Some((_, rest)) = message.split_once("Code: ") else { return 0 };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::exception_code;

    #[test]
    fn the_code_is_read_from_the_engines_message() {
        assert_eq!(exception_code("Code: 62. DB::Exception: Syntax error"), 62);
        assert_eq!(exception_code("Code: 62"), 62);
        assert_eq!(exception_code("Code: x"), 0);
        assert_eq!(exception_code("something else"), 0);
    }
}
