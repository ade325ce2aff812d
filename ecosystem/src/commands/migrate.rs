//! `rookery migrate`: the steps in `migrations/` that the database has not had yet. It says which database that is.

use super::{data_dir, read_config, with_stand_ins};
use crate::cli;
use crate::config::Surroundings;
use crate::{database, say};
use anyhow::{Context, Result};
use shared::store::Store;
use std::process::ExitCode;

pub fn run(place: &cli::Place, surroundings: &Surroundings) -> Result<ExitCode> {
    let database = database::reach(&data_dir(place, surroundings), surroundings)?;
    let config = read_config(&with_stand_ins(&database.settings))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let (steps, at) = runtime.block_on(async {
        let store = Store::new(&config.store)?;
        let steps = store.migrate().await?;
        Ok::<_, anyhow::Error>((steps, store.schema_versions().await?.0))
    })?;
    let done = if steps == 0 { "nothing to do".to_owned() } else { format!("{steps} step(s) done") };
    say::line(format!("{}: {done}, the schema is at step {at}", database.words));
    Ok(ExitCode::SUCCESS)
}
