//! Lines of the result, in the form of the other benchmarks: `figure NAME VALUE UNIT [target OP VALUE ok|missed]`.

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Nothing is promised.
    None,
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// Prints one figure.
pub fn print(name: &str, value: f64, unit: &str, target: Target) {
    let verdict = |met: bool| if met { "ok" } else { "missed" };
    let target = match target {
        Target::None => String::new(),
        Target::AtLeast(least) => format!(" target >= {least} {}", verdict(value >= least)),
        Target::AtMost(most) => format!(" target <= {most} {}", verdict(value <= most)),
    };
    println!("figure {name} {} {unit}{target}", number(value));
}

fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle of some values; the lower one of an even number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
