//! What needs neither a collector nor rules: completions and manual pages.

use std::path::Path;

use clap::{Command, CommandFactory};

use crate::args::Arguments;
use crate::errors::{Failure, Outcome};
use crate::output::Output;

/// Completions on stdout.
pub fn completions(output: &Output, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "beffroi", &mut script);
    output.print(String::from_utf8_lossy(&script).trim_end())
}

/// A manual page for each verb, into `folder`.
pub fn man(folder: &Path) -> Outcome {
    let bad = |error: std::io::Error| {
        Failure::usage(
            format!("cannot write manual pages into {}: {error}", folder.display()),
            "name a folder that you may write",
        )
    };
    std::fs::create_dir_all(folder).map_err(bad)?;
    pages(&Arguments::command(), "beffroi", folder).map_err(bad)
}

fn pages(command: &Command, name: &str, folder: &Path) -> std::io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_string())).render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        pages(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}
