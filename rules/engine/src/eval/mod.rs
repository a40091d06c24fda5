//! Our own evaluator: Sigma's meaning as a small intermediate form, judged in two ways.
//!
//! A rule set becomes [`Program`]: each distinct test of a field's value is one *atom* ([`Atom`]), each rule an
//! expression over atoms ([`Expr`]). An event becomes a [`Frame`]: borrowed values by field number, whatever it was read
//! from. [`mod@reference`] judges a frame by the book, slowly; [`Judge`] judges it fast and must agree with it, which
//! property tests hold.
//!
//! Text is compared without case by its lower case form, as the Sigma specification asks (version 2.1, "Detections":
//! values are case-insensitive unless `cased` says otherwise). A value that is a list matches when one of its elements
//! does. Nothing here reads a clock or a file.

mod build;
mod detail;
mod encode;
mod escape;
mod expression;
mod filter;
mod finds;
mod fold;
mod forms;
mod frame;
mod gram;
mod hash;
mod inside;
mod json;
mod judge;
mod keywords;
mod lean;
mod member;
mod members;
mod memo;
mod modifiers;
mod names;
mod needles;
mod needs;
mod numbered;
mod pairs;
mod pattern;
mod possible;
mod program;
mod quotes;
mod reader;
mod recall;
pub mod reference;
mod required;
mod scan;
mod scratch;
mod searched;
mod stamped;
mod subject;
mod test;
mod trace;
mod values;
mod wanted;

pub use build::{BuildError, Builder};
pub use detail::{Found, explain};
pub use frame::{Datum, Frame};
pub(crate) use hash::{Table, mix, spread};
pub use json::fill_from_text;
pub use judge::{Choice, Judge, TooMuchText};
pub use names::{FieldId, Names};
pub(crate) use possible::Given;
pub use program::{Atom, AtomId, CoreRule, Expr, Program, Scope};
pub use quotes::Kind as StringKind;
pub use reader::{Reader, TextError};
pub use scratch::Scratch;
pub(crate) use stamped::{Kept, Span, Stamped};
pub(crate) use subject::Subject;
pub use subject::{fill_from_event, fill_from_json, fill_wanted_from_event};
pub use test::Test;
pub use trace::{Node, trace};
pub(crate) use values::{Find, NO_SET, SetId, Values};
pub(crate) use wanted::Reads;
pub use wanted::Wanted;
