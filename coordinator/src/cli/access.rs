//! Listen address, and how agents and the coordinator authenticate each other. Listening beyond loopback requires an identity,
//! certificates or `--insecure`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_core::limits;
use muster_net::security::pki::{Pki, PkiArgs};

use super::Failure;
use super::values::duration;
use crate::grpc::Access;
use crate::identity::{self, Identity, IdentityError};

const DEFAULT_PORT: u16 = 50_051;

/// Listen address and authentication of agents.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Listening and authentication")]
pub(super) struct ListenArgs {
    /// Address on which agents join [default: 127.0.0.1:50051; with --local no port is opened]
    #[arg(long, value_name = "ADDRESS", value_parser = muster_net::address::parse_listen_address)]
    listen: Option<SocketAddr>,

    /// Directory with the identity that `coordinator token` created; agents need its join string
    ///
    /// Without this option, the default directory is used if agents on other machines can join. With it, the join string and TLS are
    /// required on loopback, too.
    ///
    /// [default: $XDG_STATE_HOME/muster/identity or ~/.local/state/muster/identity]
    #[arg(long, value_name = "DIR", env = "MUSTER_IDENTITY", conflicts_with = "tls_cert")]
    identity: Option<PathBuf>,

    #[command(flatten)]
    pki: PkiArgs,

    /// Let agents on other machines join without encryption or authentication
    ///
    /// Otherwise --listen with an address of other machines requires an identity or --tls-cert.
    #[arg(long, conflicts_with_all = ["tls_cert", "identity"])]
    insecure: bool,

    /// For tests: disconnect a peer that is not admitted within this time
    #[arg(long, hide = true, value_name = "TIME", value_parser = duration)]
    admission_timeout: Option<Duration>,
}

/// Validated listen address and access rules.
pub(super) struct ListenConfig {
    /// `None` if no port is opened because all agents run in this process.
    pub(super) address: Option<SocketAddr>,
    pub(super) access: Access,
    /// Encryption and authentication were waived for other machines.
    pub(super) is_insecure: bool,
    /// A connection on which no agent joins within this time is closed.
    pub(super) admission_timeout: Duration,
}

impl ListenConfig {
    /// `is_local` states whether this process starts the agents.
    pub(super) fn from_args(args: &ListenArgs, is_local: bool) -> Result<Self, Failure> {
        let config = Self::resolve(args, is_local)?;
        let admission_timeout = args.admission_timeout.unwrap_or(config.admission_timeout);
        Ok(Self { admission_timeout, is_insecure: args.insecure, ..config })
    }

    fn resolve(args: &ListenArgs, is_local: bool) -> Result<Self, Failure> {
        let default = (!is_local).then(|| (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
        let address = args.listen.or(default);
        if let Some(pki) = args.pki.read().map_err(Failure::usage)? {
            return Self::certified(address, pki, is_local);
        }
        if args.insecure {
            return Ok(Self::plaintext(address));
        }
        if let Some(dir) = &args.identity {
            return Self::joined(address, Identity::load(dir).map_err(Failure::usage)?);
        }
        let Some(other) = address.filter(|address| !address.ip().is_loopback()) else {
            return Ok(Self::plaintext(address));
        };
        match identity::place(None).and_then(|dir| Identity::load(&dir)) {
            Ok(identity) => Self::joined(address, identity),
            Err(IdentityError::Missing(_) | IdentityError::NoHome) => Err(Failure::usage(anyhow::anyhow!(
                "--listen {other} lets agents on other machines join, and they must be authenticated. Choose one of: `coordinator token`, \
                 which creates an identity and prints a join string for `agent --join`; --tls-cert, --tls-key and --tls-ca, with \
                 certificates of your own CA; or --insecure, without encryption or authentication, on a network that you trust"
            ))),
            Err(problem) => Err(Failure::usage(problem)),
        }
    }

    fn new(address: Option<SocketAddr>, access: Access) -> Self {
        Self { address, access, is_insecure: false, admission_timeout: limits::ADMISSION_TIMEOUT }
    }

    fn plaintext(address: Option<SocketAddr>) -> Self {
        Self::new(address, Access::InClear)
    }

    fn joined(address: Option<SocketAddr>, identity: Identity) -> Result<Self, Failure> {
        let access = Access::joined(Arc::new(identity)).map_err(Failure::usage)?;
        Ok(Self::new(address, access))
    }

    fn certified(address: Option<SocketAddr>, pki: Pki, is_local: bool) -> Result<Self, Failure> {
        if is_local {
            return Err(Failure::usage(anyhow::anyhow!(
                "--local starts the agents in this process, but --tls-cert is for agents on other machines: remove one of the two"
            )));
        }
        let access = Access::certified(pki).map_err(Failure::usage)?;
        Ok(Self::new(address, access))
    }
}
