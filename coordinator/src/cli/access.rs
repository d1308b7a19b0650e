//! Who may join a run, and how they and the coordinator know each other. Off this machine, that must be said.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::security::pki::{Pki, PkiArgs};
use muster_common::limits;

use super::Failure;
use super::args::duration;
use super::job::Job;
use crate::grpc::Access;
use crate::identity::{self, Identity, IdentityError};

const DEFAULT_PORT: u16 = 50_051;

/// Where agents join, and how they prove that they may.
#[derive(Debug, clap::Args)]
pub(super) struct EntranceArgs {
    /// Where agents join [default: 127.0.0.1:50051; with --local no port is opened]
    #[arg(long, value_name = "ADDRESS", value_parser = muster_agent::parse_listen_address)]
    listen: Option<SocketAddr>,

    /// Let agents join by the join string of `coordinator token` and encrypted, on this machine, too. Off this machine that is so
    /// anyway, once there is an identity [default: $XDG_STATE_HOME/muster/identity or ~/.local/state/muster/identity]
    #[arg(long, value_name = "DIR", env = "MUSTER_IDENTITY", conflicts_with = "tls_cert")]
    identity: Option<PathBuf>,

    #[command(flatten)]
    pki: PkiArgs,

    /// Let agents of other machines join without encryption and without proof of who they are
    #[arg(long, conflicts_with_all = ["tls_cert", "identity"])]
    insecure: bool,

    /// For tests: who is not let in so long after it connected has to leave
    #[arg(long, hide = true, value_name = "TIME", value_parser = duration)]
    admission_timeout: Option<Duration>,
}

/// Where it listens, and to whom.
pub(super) struct Entrance {
    /// `None`: nowhere, and all agents are in this process.
    pub(super) address: Option<SocketAddr>,
    pub(super) access: Access,
    pub(super) patience: Duration,
}

impl Entrance {
    pub(super) fn typed(args: &EntranceArgs, job: &Job) -> Result<Self, Failure> {
        let chosen = Self::chosen(args, job)?;
        Ok(Self { patience: args.admission_timeout.unwrap_or(chosen.patience), ..chosen })
    }

    fn chosen(args: &EntranceArgs, job: &Job) -> Result<Self, Failure> {
        let default = job.local.is_none().then(|| (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
        let address = args.listen.or(default);
        if let Some(pki) = args.pki.read().map_err(Failure::usage)? {
            return Self::certified(address, pki, job);
        }
        if args.insecure {
            return Ok(Self::in_clear(address));
        }
        if let Some(dir) = &args.identity {
            return Self::joined(address, Identity::load(dir).map_err(Failure::usage)?);
        }
        let Some(other) = address.filter(|address| !address.ip().is_loopback()) else {
            return Ok(Self::in_clear(address));
        };
        match identity::place(None).and_then(|dir| Identity::load(&dir)) {
            Ok(identity) => Self::joined(address, identity),
            Err(IdentityError::Missing(_) | IdentityError::NoHome) => Err(Failure::usage(anyhow::anyhow!(
                "--listen {other} lets other machines join. There are three ways to know them: `coordinator token` makes an identity and \
                 prints a join string for `agent --join`; --tls-cert, --tls-key and --tls-ca with certificates of your own authority; or \
                 --insecure, in clear and unproven, on a network that you trust"
            ))),
            Err(problem) => Err(Failure::usage(problem)),
        }
    }

    fn of(address: Option<SocketAddr>, access: Access) -> Self {
        Self { address, access, patience: limits::ADMISSION_TIMEOUT }
    }

    fn in_clear(address: Option<SocketAddr>) -> Self {
        Self::of(address, Access::InClear)
    }

    fn joined(address: Option<SocketAddr>, identity: Identity) -> Result<Self, Failure> {
        let access = Access::joined(Arc::new(identity)).map_err(Failure::usage)?;
        Ok(Self::of(address, access))
    }

    fn certified(address: Option<SocketAddr>, pki: Pki, job: &Job) -> Result<Self, Failure> {
        if job.local.is_some() {
            return Err(Failure::usage(anyhow::anyhow!(
                "--local starts the agents inside this process, and --tls-cert is for agents of other machines: leave one of them out"
            )));
        }
        let access = Access::certified(pki).map_err(Failure::usage)?;
        Ok(Self::of(address, access))
    }
}
