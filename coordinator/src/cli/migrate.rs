//! `coordinator migrate`: creates the demo's schema and loads its data.

use std::path::{Path, PathBuf};

use muster_postgres::{Environment, Settings};
use tokio_util::sync::CancellationToken;

use muster_report::units::counted;

use super::args::MigrateArgs;
use super::database::{self, Choice};
use super::{Failure, print_notice};
use crate::demo::generate::Shape;
use crate::demo::migrate::{self, Migrated, Options, Source};
use crate::exit::Exit;

/// Loaded by default if the file exists.
const DEFAULT_DATA: &str = "data/cpu_usage.csv";

pub(super) async fn run(args: MigrateArgs, interrupt: CancellationToken) -> Result<Exit, Failure> {
    let settings = match database::choose(args.database_url.as_ref())? {
        Choice::Configured(settings) => settings,
        // Without settings, psql connects to the server on this machine, and so does this command.
        Choice::Unconfigured => {
            Settings::resolve(None, &Environment::from_process()).map_err(Failure::usage)?
        }
        Choice::Embedded => {
            return Err(Failure::usage(anyhow::anyhow!(
                "an embedded server exists only during a run, which loads the demo data itself; \
                 pass the server to migrate with --database-url"
            )));
        }
    };
    let options =
        Options { source: source(args.data, args.generate), index: args.index, replace: args.replace };
    let migrated = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        migrated = migrate::migrate(&settings, &options, &print_notice) => migrated.map_err(Failure::usage)?,
    };
    print_notice(&format!("{} at {}", summary(&migrated), settings.describe()));
    Ok(Exit::Success)
}

fn source(data: Option<PathBuf>, is_generated: bool) -> Source {
    let default = Some(PathBuf::from(DEFAULT_DATA)).filter(|path| !is_generated && Path::exists(path));
    data.or(default).map_or_else(|| Source::Generated(Shape::default()), Source::File)
}

fn summary(migrated: &Migrated) -> String {
    let table = match &migrated.timescaledb {
        Some(version) => format!("hypertable cpu_usage (TimescaleDB {version})"),
        None => "table cpu_usage".to_owned(),
    };
    match migrated.loaded {
        Some(rows) => format!("{} loaded into {table}", counted(rows, "row")),
        None => format!("{table} already contains rows and was left unchanged (--replace reloads it)"),
    }
}
