//! What the command line says of itself: manual pages, and completions for shells.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::examples::with_examples;
use super::output::{Output, named};
use crate::ops::Failure;

/// Writes completions for this shell to standard output.
pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut script);
    Ok(output.data(&script)?)
}

/// Writes one page for each command into this directory, which is made where it is not there; or
/// the page of `rollcall` itself to standard output.
pub(super) fn pages(dir: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    // The page of `help` would say nothing that the others do not.
    let command = with_examples(Cli::command()).disable_help_subcommand(true);
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(output.data(&page)?);
    };
    // Nothing in them is secret, and `man` runs as any user.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    Ok(written.map_err(|error| named(dir.display(), &error))?)
}
