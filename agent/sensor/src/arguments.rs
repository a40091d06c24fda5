//! Arguments of a process as events carry them: masked, joined, within the limits of the contract.

use std::sync::Arc;

use beffroi_schema::Text;
use beffroi_schema::limits::{MAX_LIST, MAX_TEXT_BYTES};

use crate::mask;
use crate::process::KEPT_COMMAND_LINE;

/// Arguments ready for events: masked, within the limits.
pub struct Arguments {
    /// Each by itself.
    pub argv: Arc<[Text]>,
    /// Joined by blanks.
    pub command_line: Text,
    /// A secret was masked.
    pub redacted: bool,
    /// Something did not fit.
    pub cut: bool,
}

impl Arguments {
    /// From arguments that each end in NUL.
    pub fn new(args: &[u8]) -> Self {
        let args = args.strip_suffix(b"\0").unwrap_or(args);
        let mut argv: Vec<Vec<u8>> = args.split(|byte| *byte == 0).take(MAX_LIST + 1).map(<[u8]>::to_vec).collect();
        let mut cut = argv.len() > MAX_LIST;
        argv.truncate(MAX_LIST);
        let redacted = mask::mask_argv(&mut argv);
        let mut command_line = argv.join(&b' ');
        if command_line.len() > MAX_TEXT_BYTES {
            command_line.truncate(MAX_TEXT_BYTES);
            cut = true;
        }
        Self { argv: argv.into_iter().map(Text::from).collect(), command_line: command_line.into(), redacted, cut }
    }

    /// What the table keeps.
    pub fn kept(&self) -> Text {
        match self.command_line.get(..KEPT_COMMAND_LINE) {
            Some(head) => head.into(),
            None => self.command_line.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_arguments_stay_and_too_many_are_cut() {
        let arguments = Arguments::new(b"a\0\0b\0");
        assert_eq!(arguments.argv.len(), 3);
        assert_eq!(&*arguments.command_line, b"a  b");
        let many = b"x\0".repeat(MAX_LIST + 1);
        let arguments = Arguments::new(&many);
        assert!(arguments.cut);
        assert_eq!(arguments.argv.len(), MAX_LIST);
    }
}
