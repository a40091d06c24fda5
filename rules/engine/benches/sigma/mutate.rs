//! Ten times the rules: copies of each rule in which one letter of every longer text is another, so that they have the
//! shape of real rules, share most of their parts with them, and match about as rarely.

use rsigma_parser::{Detection, DetectionItem, SigmaRule, SigmaString, SigmaValue};

/// Texts shorter than this stay as they are (event ids, switches).
const MIN_TEXT: usize = 4;

/// The rules and `copies` mutated copies of each.
pub fn copies(rules: &[SigmaRule], copies: usize) -> Vec<SigmaRule> {
    let mut all = rules.to_vec();
    for copy in 1..=copies {
        for (index, rule) in rules.iter().enumerate() {
            let mut rule = rule.clone();
            rule.id = Some(format!("{}-{copy}", rule.id.unwrap_or_default()));
            let mut seed = (copy * 1_000_003 + index) as u64 + 1;
            rule.detection.named.values_mut().for_each(|detection| change(detection, &mut seed));
            all.push(rule);
        }
    }
    all
}

fn change(detection: &mut Detection, seed: &mut u64) {
    let items = |items: &mut Vec<DetectionItem>, seed: &mut u64| {
        items.iter_mut().filter(|item| item.field.modifiers.iter().all(is_text)).for_each(|item| {
            item.values.iter_mut().for_each(|value| change_value(value, seed));
        });
    };
    match detection {
        Detection::AllOf(list) => items(list, seed),
        Detection::And(list) | Detection::AnyOf(list) => list.iter_mut().for_each(|inner| change(inner, seed)),
        Detection::Keywords(values) => values.iter_mut().for_each(|value| change_value(value, seed)),
        _ => {}
    }
}

/// Expressions, networks and names of fields stay as they are.
fn is_text(modifier: &rsigma_parser::Modifier) -> bool {
    use rsigma_parser::Modifier as M;
    !matches!(modifier, M::Re | M::Cidr | M::FieldRef | M::Exists | M::Expand | M::Gt | M::Gte | M::Lt | M::Lte)
}

fn change_value(value: &mut SigmaValue, seed: &mut u64) {
    let SigmaValue::String(text) = value else { return };
    let mut letters: Vec<char> = text.original.chars().collect();
    let places: Vec<usize> = (0..letters.len()).filter(|at| letters[*at].is_ascii_alphabetic()).collect();
    if letters.len() < MIN_TEXT || places.is_empty() {
        return;
    }
    let place = places[next(seed) % places.len()];
    let other = char::from(b'a' + (next(seed) % 26) as u8);
    letters[place] = if letters[place].eq_ignore_ascii_case(&other) { '7' } else { other };
    *text = SigmaString::new(&letters.into_iter().collect::<String>());
}

/// xorshift: the same copies in every run.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 16) as usize
}
