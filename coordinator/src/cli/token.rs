//! `coordinator token`: the join string, and with it the coordinator's identity.

use std::io::Write;
use std::path::PathBuf;

use muster_agent::security::pki::provider;

use super::Failure;
use crate::exit::Exit;
use crate::identity::{self, Identity};

#[derive(Debug, clap::Args)]
#[command(after_long_help = TOKEN_HELP)]
pub(super) struct TokenArgs {
    /// Directory of the coordinator's key, certificate and secret [default: $XDG_STATE_HOME/muster/identity or
    /// ~/.local/state/muster/identity]
    #[arg(long, value_name = "DIR", env = "MUSTER_IDENTITY")]
    pub(super) identity: Option<PathBuf>,

    /// Make the old join string void and print a new one. A running coordinator goes by it at once; agents that have joined stay
    #[arg(long)]
    pub(super) rotate: bool,
}

const TOKEN_HELP: &str = "\
The join string is muster1.PIN.SECRET: by the pin, the SHA-256 of the coordinator's certificate, an agent knows the coordinator before
it says anything; by the secret the coordinator knows its agents. Whoever has it can take part in runs and is handed the database's
address: keep it like a password.

  (umask 077; coordinator token > join)                         once; the same string every time
  coordinator run --agents 10 --listen 0.0.0.0:50051 rows.csv
  agent --coordinator load1:50051 --join-file join              or MUSTER_JOIN, or --join";

pub(super) fn run(args: &TokenArgs) -> Result<Exit, Failure> {
    let dir = identity::place(args.identity.as_deref()).map_err(Failure::usage)?;
    let is_new = !identity::exists(&dir);
    let identity = Identity::load_or_create(&dir, &provider()).map_err(Failure::usage)?;
    if args.rotate && !is_new {
        identity.rotate(&provider()).map_err(Failure::usage)?;
        super::say("the old join string is void: agents that have joined stay, no other joins by it");
    } else if is_new {
        super::say(&format!(
            "made this coordinator's identity in {}; it is as secret as the join string",
            dir.display()
        ));
    }
    let join = identity.join_string().map_err(Failure::usage)?;
    writeln!(std::io::stdout(), "{}", join.expose()).map_err(Failure::write)?;
    Ok(Exit::Success)
}
