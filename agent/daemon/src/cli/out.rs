//! Where every command prints: data to stdout, talk to stderr.
//!
//! Owns what happens when a reader goes away (`| head`): stdout then counts as closed, what is still printed is dropped and
//! the command ends as it would have, quietly. Every other failure, such as a full disk, is an error. Talk that nobody can
//! hear is dropped. Nothing else in the command line prints; the compiler holds that (see `mod.rs`).

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};

/// Standard output of a command. Flush it, or what was printed last may be missing.
pub(super) struct Out<W: Write = io::Stdout> {
    to: BufWriter<W>,
    is_closed: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Out<W> {
    fn to(to: W) -> Self {
        Self { to: BufWriter::new(to), is_closed: false }
    }

    /// Whether the reader is gone: what takes long may stop.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes a reader that is gone for one that has heard enough.
    fn settle(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot print: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_closed {
            let written = self.to.write_all(bytes);
            self.settle(written)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.to.flush();
        self.settle(flushed)
    }
}

/// Prints one document and a line feed behind it.
///
/// # Errors
/// Standard output does not take it; that nobody reads it is none.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = Out::new();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Talks to people. Call it through [`say!`].
pub(super) fn say_to_people(text: fmt::Arguments<'_>) {
    // One write, so that lines of several processes do not mix; whoever closed stderr does not want to hear it.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Talks to people, on stderr, in one line.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::out::say_to_people(format_args!($($text)*))
    };
}
pub(super) use say;

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_is_known() {
        let mut out = Out::to(Refusing(ErrorKind::BrokenPipe));
        writeln!(out, "{}", "x".repeat(100_000)).unwrap();
        assert!(out.is_closed());
        writeln!(out, "more").unwrap();
        out.flush().unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut out = Out::to(Refusing(ErrorKind::StorageFull));
        write!(out, "x").unwrap();
        assert!(out.flush().unwrap_err().to_string().starts_with("cannot print"));
        assert!(!out.is_closed());
    }
}
