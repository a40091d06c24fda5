//! Corrections of a parsed rule, so that the evaluator judges it as the Sigma specification says.
//!
//! Each one exists because `rsigma-eval` 0.23 does otherwise, and has a test in `tests/semantics.rs`:
//! - a selection without a field (`'|all': [a, b]`) compared whole values and so never matched: its values become
//!   searches for each word in any value;
//! - `null` among other values did not match an absent field: it becomes an alternative of its own;
//! - a wildcard did not cross a line break, so a line break in a command line hid it: it becomes an expression that does;
//! - `all` with one value was refused: the modifier is dropped;
//! - `base64offset` kept the last character, which depends on what follows the value, and so missed the value inside of
//!   a longer text: the three texts are made here, without it;
//! - numbers and booleans among keywords never matched, and integers beyond 53 bits matched their neighbours: they
//!   become text.

use base64::Engine;
use rsigma_parser::{
    Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart,
};

/// Integers up to here are exact as floating-point numbers, which the evaluator compares.
const MAX_EXACT: u64 = 1 << 53;

/// Corrects all selections of a rule.
pub(crate) fn cure(detections: &mut Detections) {
    for detection in detections.named.values_mut() {
        let taken = std::mem::replace(detection, Detection::AnyOf(Vec::new()));
        *detection = cure_detection(taken);
    }
}

fn cure_detection(detection: Detection) -> Detection {
    match detection {
        Detection::AllOf(items) => cure_items(items),
        Detection::AnyOf(list) => Detection::AnyOf(list.into_iter().map(cure_detection).collect()),
        Detection::And(list) => Detection::And(list.into_iter().map(cure_detection).collect()),
        Detection::Keywords(values) => Detection::Keywords(values.into_iter().map(keyword).collect()),
        // In an array's body a missing field name means the element, which the evaluator does right.
        other => other,
    }
}

fn cure_items(items: Vec<DetectionItem>) -> Detection {
    let mut plain = Vec::new();
    let mut parts = Vec::new();
    for item in items {
        match cure_item(item) {
            Cured::Item(item) => plain.push(item),
            Cured::Part(part) => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Detection::AllOf(plain);
    }
    if !plain.is_empty() {
        parts.push(Detection::AllOf(plain));
    }
    if parts.len() == 1 { parts.remove(0) } else { Detection::And(parts) }
}

enum Cured {
    Item(DetectionItem),
    Part(Detection),
}

fn cure_item(mut item: DetectionItem) -> Cured {
    if item.values.len() <= 1 {
        item.field.modifiers.retain(|modifier| *modifier != Modifier::All);
    }
    if item.field.name.is_none() {
        return Cured::Part(search(item));
    }
    if let Some(offsets) = encode_offsets(&item) {
        return Cured::Part(offsets);
    }
    let has_null = item.values.len() > 1 && item.values.contains(&SigmaValue::Null);
    if has_null && !item.field.has_modifier(Modifier::All) && !item.field.has_modifier(Modifier::Neq) {
        return Cured::Part(null_or_value(item));
    }
    Cured::Item(widen_wildcards(exact_numbers(item)))
}

/// A selection without a field: each value is looked for in any value of the event.
fn search(item: DetectionItem) -> Detection {
    let needs_all = item.field.has_modifier(Modifier::All);
    let mut modifiers: Vec<Modifier> = item.field.modifiers;
    modifiers.retain(|modifier| *modifier != Modifier::All);
    let says_how = [Modifier::Contains, Modifier::StartsWith, Modifier::EndsWith, Modifier::Re, Modifier::Cidr];
    if !modifiers.iter().any(|modifier| says_how.contains(modifier)) {
        modifiers.push(Modifier::Contains);
    }
    let one = |value| DetectionItem { field: FieldSpec::new(None, modifiers.clone()), values: vec![keyword(value)] };
    let mut items = item.values.into_iter().map(|value| widen_wildcards(one(value)));
    if needs_all {
        Detection::AllOf(items.collect())
    } else {
        Detection::AnyOf(items.by_ref().map(|item| Detection::AllOf(vec![item])).collect())
    }
}

fn null_or_value(item: DetectionItem) -> Detection {
    let values: Vec<SigmaValue> = item.values.into_iter().filter(|value| *value != SigmaValue::Null).collect();
    let null = DetectionItem { field: FieldSpec::new(item.field.name.clone(), Vec::new()), values: vec![SigmaValue::Null] };
    let mut either = vec![Detection::AllOf(vec![null])];
    if !values.is_empty() {
        either.push(cure_items(vec![DetectionItem { field: item.field, values }]));
    }
    Detection::AnyOf(either)
}

/// The texts by which each value can be found in base64, whatever stands before and after it.
fn encode_offsets(item: &DetectionItem) -> Option<Detection> {
    let modifiers = &item.field.modifiers;
    let known = [
        Modifier::Base64Offset,
        Modifier::Contains,
        Modifier::All,
        Modifier::Cased,
        Modifier::Wide,
        Modifier::Utf16,
        Modifier::Utf16be,
    ];
    if !modifiers.contains(&Modifier::Base64Offset) || !modifiers.iter().all(|modifier| known.contains(modifier)) {
        return None;
    }
    let mut kept = vec![Modifier::Contains];
    kept.extend(modifiers.iter().copied().filter(|modifier| *modifier == Modifier::Cased));
    let items = item.values.iter().map(|value| {
        let SigmaValue::String(text) = value else { return None };
        let values = offsets(&encode(&text.as_plain()?, modifiers));
        Some(DetectionItem { field: FieldSpec::new(item.field.name.clone(), kept.clone()), values })
    });
    let items: Vec<DetectionItem> = items.collect::<Option<_>>()?;
    Some(if modifiers.contains(&Modifier::All) {
        Detection::AllOf(items)
    } else {
        Detection::AnyOf(items.into_iter().map(|item| Detection::AllOf(vec![item])).collect())
    })
}

fn encode(text: &str, modifiers: &[Modifier]) -> Vec<u8> {
    let little = || text.encode_utf16().flat_map(u16::to_le_bytes);
    if modifiers.contains(&Modifier::Wide) {
        little().collect()
    } else if modifiers.contains(&Modifier::Utf16be) {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    } else if modifiers.contains(&Modifier::Utf16) {
        [0xff, 0xfe].into_iter().chain(little()).collect()
    } else {
        text.as_bytes().to_vec()
    }
}

/// The characters that bytes have for certain at each of the three places in a group of three; values that are too
/// short to have any are left out.
fn offsets(bytes: &[u8]) -> Vec<SigmaValue> {
    let texts = (0..3usize).map(|before| {
        let padded = [&b"\0\0"[..before], bytes].concat();
        let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded);
        // The first characters mix with what stands before, the last one with what follows.
        let start = (before * 4).div_ceil(3);
        let end = padded.len() * 4 / 3;
        encoded[start.min(end)..end].to_string()
    });
    texts.filter(|text| !text.is_empty()).map(|text| SigmaValue::from_raw_string(&text)).collect()
}

/// A keyword is a word: numbers and booleans are looked for as they are written.
fn keyword(value: SigmaValue) -> SigmaValue {
    match value {
        SigmaValue::Integer(number) => SigmaValue::from_raw_string(&number.to_string()),
        SigmaValue::Float(number) => SigmaValue::from_raw_string(&number.to_string()),
        SigmaValue::Bool(truth) => SigmaValue::from_raw_string(if truth { "true" } else { "false" }),
        other => other,
    }
}

fn exact_numbers(mut item: DetectionItem) -> DetectionItem {
    let compares = [Modifier::Gt, Modifier::Gte, Modifier::Lt, Modifier::Lte];
    if !item.field.modifiers.iter().any(|modifier| compares.contains(modifier)) {
        for value in &mut item.values {
            if let SigmaValue::Integer(number) = value
                && number.unsigned_abs() > MAX_EXACT
            {
                *value = SigmaValue::from_raw_string(&number.to_string());
            }
        }
    }
    item
}

/// Values with a wildcard inside become regular expressions in which the wildcard crosses line breaks.
fn widen_wildcards(mut item: DetectionItem) -> DetectionItem {
    let modifiers = &item.field.modifiers;
    let simple = [Modifier::Contains, Modifier::StartsWith, Modifier::EndsWith, Modifier::All, Modifier::Cased, Modifier::Neq];
    let is_wild = |value: &SigmaValue| matches!(value, SigmaValue::String(text) if has_inner_wildcard(text));
    let is_text = |value: &SigmaValue| matches!(value, SigmaValue::String(_));
    if !modifiers.iter().all(|modifier| simple.contains(modifier))
        || !item.values.iter().any(is_wild)
        || !item.values.iter().all(is_text)
    {
        return item;
    }
    let open_start = modifiers.contains(&Modifier::Contains) || modifiers.contains(&Modifier::EndsWith);
    let open_end = modifiers.contains(&Modifier::Contains) || modifiers.contains(&Modifier::StartsWith);
    for value in &mut item.values {
        if let SigmaValue::String(text) = value {
            *value = SigmaValue::from_raw_string(&expression(text, open_start, open_end));
        }
    }
    let mut kept: Vec<Modifier> =
        modifiers.iter().copied().filter(|modifier| matches!(modifier, Modifier::All | Modifier::Neq)).collect();
    kept.extend([Modifier::Re, Modifier::DotAll]);
    if !modifiers.contains(&Modifier::Cased) {
        kept.push(Modifier::IgnoreCase);
    }
    item.field.modifiers = kept;
    item
}

/// A `*` at either end is an open end and no expression; anything else needs one.
fn has_inner_wildcard(text: &SigmaString) -> bool {
    let last = text.parts.len().saturating_sub(1);
    text.parts.iter().enumerate().any(|(at, part)| match part {
        StringPart::Plain(_) => false,
        StringPart::Special(SpecialChar::WildcardSingle) => true,
        StringPart::Special(SpecialChar::WildcardMulti) => at != 0 && at != last,
    })
}

fn expression(text: &SigmaString, open_start: bool, open_end: bool) -> String {
    let mut pattern = String::new();
    if !open_start {
        pattern.push('^');
    }
    for part in &text.parts {
        match part {
            StringPart::Plain(plain) => pattern.push_str(&regex::escape(plain)),
            StringPart::Special(SpecialChar::WildcardMulti) => pattern.push_str(".*"),
            StringPart::Special(SpecialChar::WildcardSingle) => pattern.push('.'),
        }
    }
    if !open_end {
        pattern.push('$');
    }
    pattern
}
