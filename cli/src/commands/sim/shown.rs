//! The one run of a campaign that somebody looks at.

use std::{fs::File, io::BufWriter, path::Path};

use septa_sim::{Scenario, plan::Plan, play_exported, play_recorded};

use super::{cannot_write, write};
use crate::{args::SimArgs, failure::Failure};

/// A run that `--report` and `--export` show.
pub(super) struct Shown<'s> {
    pub(super) scenario: &'s dyn Scenario,
    pub(super) plan: Plan,
    /// What plays it again.
    pub(super) command: String,
}

impl Shown<'_> {
    /// Writes what was asked for. For each file the run is played once more: to look at it changes nothing.
    pub(super) fn write_files(&self, args: &SimArgs) -> Result<(), Failure> {
        if let Some(file) = &args.report {
            write(file, &play_recorded(self.scenario, &self.plan, &self.command).1.to_html())?;
        }
        if let Some(file) = &args.export {
            self.export(file)?;
        }
        Ok(())
    }

    /// It may be a gigabyte, so it is written as it comes about.
    fn export(&self, file: &Path) -> Result<(), Failure> {
        let out = File::create(file).map_err(|error| cannot_write(file, &error))?;
        let played = play_exported(self.scenario, &self.plan, BufWriter::new(out));
        played.map(drop).map_err(|error| cannot_write(file, &error))
    }
}
