//! `coordinator token`: the join string, and with it the coordinator's identity.

use std::io::Write;

use muster_agent::security::pki::provider;

use super::Failure;
use super::args::TokenArgs;
use crate::exit::Exit;
use crate::identity::{self, Identity};

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
