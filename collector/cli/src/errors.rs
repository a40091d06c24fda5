//! What can go wrong in the terminal: what, where, what to do next, and the exit code that scripts see.

use std::fmt;

/// Exit codes: 0 done, 2 rules, 3 usage or configuration, 4 server or network, 130 interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Rules are broken, or a proof failed.
    Rules = 2,
    /// The command or its configuration cannot be used.
    Usage = 3,
    /// The server refused, or cannot be reached.
    Server = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A failure with its advice.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What happened and where.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

impl Failure {
    /// The command or its configuration cannot be used.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: what.into(), hint: hint.into() }
    }

    /// The server refused, or cannot be reached.
    pub fn server(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Server, what: what.into(), hint: hint.into() }
    }

    /// Rules are broken.
    pub fn rules(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Rules, what: what.into(), hint: hint.into() }
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
