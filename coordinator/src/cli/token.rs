//! `coordinator token`: prints the join string and creates the coordinator's identity if it does not exist.

use std::io::Write;
use std::path::PathBuf;

use muster_net::security::pki::provider;

use super::Failure;
use crate::exit::Exit;
use crate::identity::{self, Identity};

#[derive(Debug, clap::Args)]
#[command(after_long_help = super::help::token())]
pub(super) struct TokenArgs {
    /// Directory with the coordinator's key, certificate and secret [default: $XDG_STATE_HOME/muster/identity or
    /// ~/.local/state/muster/identity]
    #[arg(long, value_name = "DIR", env = "MUSTER_IDENTITY")]
    pub(super) identity: Option<PathBuf>,

    /// Invalidate the old join string and print a new one. A running coordinator uses it immediately; agents that have joined stay connected
    #[arg(long)]
    pub(super) rotate: bool,
}

pub(super) fn run(args: &TokenArgs) -> Result<Exit, Failure> {
    let dir = identity::place(args.identity.as_deref()).map_err(Failure::usage)?;
    let is_new = !identity::exists(&dir);
    let identity = Identity::load_or_create(&dir, &provider()).map_err(Failure::usage)?;
    if args.rotate && !is_new {
        identity.rotate(&provider()).map_err(Failure::usage)?;
        super::print_notice("the old join string is no longer valid; agents that have joined stay connected");
    } else if is_new {
        super::print_notice(&format!(
            "created the coordinator's identity in {}; keep it as secret as the join string",
            dir.display()
        ));
    }
    let join = identity.join_string().map_err(Failure::usage)?;
    writeln!(std::io::stdout(), "{}", join.expose()).map_err(Failure::write)?;
    Ok(Exit::Success)
}
