//! The binary XML of a record: tokens, templates with values put into them, fragments inside of values.
//!
//! Every offset comes from the file and may point anywhere, also to itself: reading is bounded by depth, nodes and text
//! ([`crate::limits`]), never by what the record says.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use serde_json::Value as Json;

use super::value::{FRAGMENT, Read, read, utf16};
use crate::limits::{MAX_XML_DEPTH, MAX_XML_NODES, MAX_XML_TEXT};

/// Set in a token when more of its kind follows.
const MORE: u8 = 0x40;
/// Bytes before the content of a template: link, GUID, size.
const TEMPLATE_HEADER: usize = 24;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it ends in the middle of something at {0}")]
    Short(usize),
    #[error("token {0:#04x} at {1} stands where none may")]
    Token(u8, usize),
    #[error("the value at {1} is not of its type {0:#04x}")]
    Value(u8, usize),
    #[error("it is nested more than {MAX_XML_DEPTH} deep")]
    Deep,
    #[error("it unfolds to more than any event holds")]
    Large,
}

/// A piece of XML.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Element(Element),
    Value(Json),
    /// The element around it stands once for each of these.
    Values(Vec<Json>),
}

/// An element.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    pub(super) name: Rc<str>,
    pub(super) attributes: Vec<(Rc<str>, Vec<Node>)>,
    pub(super) children: Vec<Node>,
}

/// Reads the records of one chunk.
pub(super) struct Reader<'c> {
    chunk: &'c [u8],
    /// Names by their offset; a chunk has some dozens that every record uses.
    names: HashMap<usize, Rc<str>>,
    nodes: usize,
    text: usize,
}

/// What a stretch of tokens stands in.
#[derive(Clone, Copy)]
struct Scope<'s> {
    /// Values that substitutions name.
    slots: &'s [Slot],
    /// Elements name the value that they depend on: those of templates do, those that are written out have none.
    has_dependencies: bool,
    depth: usize,
}

/// A value of a template, not yet read.
#[derive(Debug, Clone)]
struct Slot {
    kind: u8,
    at: Range<usize>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(chunk: &'c [u8]) -> Self {
        Self { chunk, names: HashMap::new(), nodes: 0, text: 0 }
    }

    /// The XML of one record.
    pub(super) fn fragment(&mut self, at: Range<usize>) -> Result<Vec<Node>, Damage> {
        (self.nodes, self.text) = (0, 0);
        // Most records are one template; forwarded ones are written out, like a value.
        let scope = Scope { slots: &[], has_dependencies: false, depth: 0 };
        self.tokens(&mut at.start.clone(), at.end, scope)
    }

    /// Tokens up to the end of the element or fragment that they stand in.
    fn tokens(&mut self, at: &mut usize, end: usize, scope: Scope<'_>) -> Result<Vec<Node>, Damage> {
        if scope.depth > MAX_XML_DEPTH {
            return Err(Damage::Deep);
        }
        let mut nodes = Vec::new();
        while *at < end {
            let token = self.byte(*at)? & !MORE;
            match token {
                0x00 | 0x04 => {
                    *at += 1;
                    break;
                }
                0x01 => self.element(at, end, scope, &mut nodes)?,
                0x0c => self.template(at, end, scope, &mut nodes)?,
                0x0f => *at += 4,
                // The target of a processing instruction and its text say nothing of the event.
                0x0a => *at += 5,
                0x0b => *at += 3 + 2 * usize::from(self.u16(*at + 1)?),
                _ => self.content(at, scope, &mut nodes)?,
            }
        }
        Ok(nodes)
    }

    /// A token that is text or a value.
    fn content(&mut self, at: &mut usize, scope: Scope<'_>, nodes: &mut Vec<Node>) -> Result<(), Damage> {
        self.count(1)?;
        let (token, start) = (self.byte(*at)? & !MORE, *at);
        let text = match token {
            0x05 => self.counted_text(at, 2)?,
            0x07 => self.counted_text(at, 1)?,
            0x08 => {
                let code = self.u16(*at + 1)?;
                *at += 3;
                char::from_u32(code.into()).unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
            }
            0x09 => {
                *at += 1;
                entity(&self.name(at)?)
            }
            0x0d | 0x0e => {
                let index = usize::from(self.u16(*at + 1)?);
                *at += 4;
                return self.substitute(scope, index, nodes);
            }
            other => return Err(Damage::Token(other, start)),
        };
        nodes.push(Node::Value(text.into()));
        Ok(())
    }

    /// Text behind its length, which stands `skip` bytes behind the token.
    fn counted_text(&mut self, at: &mut usize, skip: usize) -> Result<String, Damage> {
        let length = 2 * usize::from(self.u16(*at + skip)?);
        let start = *at + skip + 2;
        *at = start + length;
        self.spend(length)?;
        Ok(utf16(self.bytes(start..start + length)?))
    }

    fn element(&mut self, at: &mut usize, end: usize, scope: Scope<'_>, nodes: &mut Vec<Node>) -> Result<(), Damage> {
        self.count(1)?;
        let has_attributes = self.byte(*at)? & MORE != 0;
        *at += if scope.has_dependencies { 7 } else { 5 };
        let mut element = Element { name: self.name(at)?, attributes: Vec::new(), children: Vec::new() };
        if has_attributes {
            *at += 4;
            while self.byte(*at)? & !MORE == 0x06 {
                *at += 1;
                let name = self.name(at)?;
                let mut value = Vec::new();
                while !matches!(self.byte(*at)? & !MORE, 0x02 | 0x03 | 0x06) {
                    self.content(at, scope, &mut value)?;
                }
                self.count(1)?;
                element.attributes.push((name, value));
            }
        }
        let token = self.byte(*at)?;
        *at += 1;
        match token {
            0x02 => element.children = self.tokens(at, end, Scope { depth: scope.depth + 1, ..scope })?,
            0x03 => {}
            other => return Err(Damage::Token(other, *at - 1)),
        }
        self.repeat(element, nodes)
    }

    /// An element around a list stands once for each of its values.
    fn repeat(&mut self, mut element: Element, nodes: &mut Vec<Node>) -> Result<(), Damage> {
        let Some(place) = element.children.iter().position(|node| matches!(node, Node::Values(_))) else {
            nodes.push(Node::Element(element));
            return Ok(());
        };
        let Node::Values(list) = element.children.remove(place) else { return Ok(()) };
        if list.is_empty() {
            return self.repeat(element, nodes);
        }
        for value in list {
            self.count(1 + element.attributes.len() + element.children.len())?;
            let mut copy = element.clone();
            copy.children.insert(place, Node::Value(value));
            self.repeat(copy, nodes)?;
        }
        Ok(())
    }

    /// A template with its values. Its definition stands here when it is used for the first time, else before.
    fn template(&mut self, at: &mut usize, end: usize, scope: Scope<'_>, nodes: &mut Vec<Node>) -> Result<(), Damage> {
        self.count(1)?;
        let definition = self.u32(*at + 6)?;
        *at += 10;
        let size = self.u32(definition + 20)?;
        let content = definition + TEMPLATE_HEADER..definition + TEMPLATE_HEADER + size;
        if definition == *at {
            *at = content.end;
        }
        let slots = self.slots(at, end)?;
        let inner = Scope { slots: &slots, has_dependencies: true, depth: scope.depth + 1 };
        nodes.extend(self.tokens(&mut content.start.clone(), content.end.min(self.chunk.len()), inner)?);
        Ok(())
    }

    fn slots(&mut self, at: &mut usize, end: usize) -> Result<Vec<Slot>, Damage> {
        let count = self.u32(*at)?;
        *at += 4;
        if count > end.saturating_sub(*at) / 4 {
            return Err(Damage::Short(*at));
        }
        self.count(count)?;
        let mut start = *at + count * 4;
        let mut slots = Vec::with_capacity(count);
        for slot in (*at..start).step_by(4) {
            let size = usize::from(self.u16(slot)?);
            slots.push(Slot { kind: self.byte(slot + 2)?, at: start..start + size });
            start += size;
        }
        *at = start;
        if start > end { Err(Damage::Short(start)) } else { Ok(slots) }
    }

    fn substitute(&mut self, scope: Scope<'_>, index: usize, nodes: &mut Vec<Node>) -> Result<(), Damage> {
        // A template that names a value which was not given has nothing there.
        let Some(Slot { kind, at }) = scope.slots.get(index).cloned() else { return Ok(()) };
        if at.is_empty() || kind == 0 {
            return Ok(());
        }
        if kind == FRAGMENT {
            let inner = Scope { slots: &[], has_dependencies: false, depth: scope.depth + 1 };
            nodes.extend(self.tokens(&mut at.start.clone(), at.end, inner)?);
            return Ok(());
        }
        self.spend(at.len())?;
        nodes.push(match read(kind, self.bytes(at.clone())?).ok_or(Damage::Value(kind, at.start))? {
            Read::One(value) => Node::Value(value),
            Read::Many(list) => Node::Values(list),
        });
        Ok(())
    }

    /// A name, by the offset that stands here. When it points right behind itself, the name stands there.
    fn name(&mut self, at: &mut usize) -> Result<Rc<str>, Damage> {
        let offset = self.u32(*at)?;
        *at += 4;
        let length = 2 * usize::from(self.u16(offset + 6)?);
        if offset == *at {
            *at = offset + 8 + length + 2;
        }
        if let Some(known) = self.names.get(&offset) {
            return Ok(Rc::clone(known));
        }
        let name: Rc<str> = utf16(self.bytes(offset + 8..offset + 8 + length)?).into();
        self.names.insert(offset, Rc::clone(&name));
        Ok(name)
    }

    fn count(&mut self, nodes: usize) -> Result<(), Damage> {
        self.nodes += nodes;
        if self.nodes > MAX_XML_NODES { Err(Damage::Large) } else { Ok(()) }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Damage> {
        self.text += bytes;
        if self.text > MAX_XML_TEXT { Err(Damage::Large) } else { Ok(()) }
    }

    fn bytes(&self, at: Range<usize>) -> Result<&'c [u8], Damage> {
        self.chunk.get(at.clone()).ok_or(Damage::Short(at.start))
    }

    fn byte(&self, at: usize) -> Result<u8, Damage> {
        self.chunk.get(at).copied().ok_or(Damage::Short(at))
    }

    fn u16(&self, at: usize) -> Result<u16, Damage> {
        Ok(u16::from_le_bytes([self.byte(at)?, self.byte(at + 1)?]))
    }

    /// A size or an offset.
    fn u32(&self, at: usize) -> Result<usize, Damage> {
        let bytes = self.bytes(at..at + 4)?.try_into().map_err(|_| Damage::Short(at))?;
        // Sums of a few of these cannot overflow: sixty-four bits are assumed everywhere in this house.
        Ok(u32::from_le_bytes(bytes) as usize)
    }
}

fn entity(name: &str) -> String {
    match name {
        "quot" => "\"".into(),
        "apos" => "'".into(),
        "amp" => "&".into(),
        "lt" => "<".into(),
        "gt" => ">".into(),
        other => format!("&{other};"),
    }
}
