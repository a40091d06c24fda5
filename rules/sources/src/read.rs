//! Reading one input from its first byte to its last, block by block.

use std::io::{self, Read};
use std::ops::ControlFlow;

use beffroi_schema::limits::MAX_BATCH_BYTES;

use crate::block::{Block, Content};
use crate::evtx::ChunkBlocks;
use crate::format::{Format, Shape, shape};
use crate::input::{Opened, trouble_of};
use crate::split::events::EventBlocks;
use crate::split::lines::LineBlocks;
use crate::split::values::ValueBlocks;
use crate::trouble::{Trouble, Troubles};

/// Gives every block of an input to `emit`, in order, until that says to stop.
///
/// # Errors
/// The input could not be read to its end; what came before was given.
pub fn blocks(opened: Opened, format: Option<Format>, emit: &mut dyn FnMut(Block) -> ControlFlow<()>) -> Result<(), Trouble> {
    let shape = shape(opened.head(), format);
    let reader = opened.into_reader();
    match shape {
        Shape::JsonLines | Shape::Lines => {
            let mut blocks = LineBlocks::new(reader, shape == Shape::JsonLines);
            drive(|| blocks.next(), emit)
        }
        Shape::JsonValues => {
            let mut blocks = ValueBlocks::new(reader);
            drive(|| blocks.next(), emit)
        }
        Shape::Auditd => {
            let mut blocks = EventBlocks::new(reader);
            drive(|| blocks.next(), emit)
        }
        Shape::Evtx => {
            let mut blocks = ChunkBlocks::new(reader)?;
            drive(|| blocks.next(), emit)
        }
        Shape::Batch => {
            let mut bytes = Vec::new();
            // One byte more than a batch may have tells one that is too large.
            reader.take(MAX_BATCH_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| trouble_of(&error))?;
            let _ = emit(Block { content: Content::Batch { bytes }, troubles: Troubles::default() });
            Ok(())
        }
    }
}

fn drive(
    mut next: impl FnMut() -> (Option<Block>, Option<io::Error>),
    emit: &mut dyn FnMut(Block) -> ControlFlow<()>,
) -> Result<(), Trouble> {
    loop {
        let (block, error) = next();
        let is_last = block.is_none();
        if block.map(&mut *emit).is_some_and(|flow| flow.is_break()) {
            return Ok(());
        }
        match error {
            Some(error) => return Err(trouble_of(&error)),
            None if is_last => return Ok(()),
            None => {}
        }
    }
}
