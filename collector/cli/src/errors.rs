//! What can go wrong in the terminal: what, where, what to do next, and the exit code that scripts see.

use std::fmt;

/// Exit codes: 0 done, 1 found, 2 rules, 3 usage or configuration, 4 server or network, 5 not every host was scanned, 130
/// interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A scan found something, and the caller asked to be told so.
    Found = 1,
    /// Rules are broken, or a proof failed.
    Rules = 2,
    /// The command or its configuration cannot be used.
    Usage = 3,
    /// The server refused, or cannot be reached.
    Server = 4,
    /// Some hosts did not answer, refused, or did not come to an end.
    Incomplete = 5,
    /// Ctrl-C, or nobody reads the answer any more.
    Interrupted = 130,
}

/// A failure with its advice.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What happened and where. Empty: there is nobody to tell.
    pub what: String,
    /// What to do next.
    pub hint: String,
    /// Whether it may go away by itself, so that whoever follows something waits for it.
    pub is_passing: bool,
}

impl Failure {
    fn new(exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: hint.into(), is_passing: false }
    }

    /// The command or its configuration cannot be used.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, hint)
    }

    /// The server refused, or cannot be reached.
    pub fn server(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Server, what, hint)
    }

    /// Rules are broken.
    pub fn rules(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Rules, what, hint)
    }

    /// Everything worked and was said; only the exit code tells how it ended.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "", "")
    }

    /// Ctrl-C, or the reader of the answer has gone: nothing is said.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "", "")
    }

    /// The same, marked as something that may go away by itself.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { is_passing: true, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n hint: {}", self.hint) }
    }
}

/// Result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;
