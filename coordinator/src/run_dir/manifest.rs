//! The manifest of a run, schema `muster.run/v1`: its definition and where it was started. It does not contain the database URL, which may
//! include a password; the user passes the URL again to resume. Fields are only added.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::spec::RunSpec;

pub(super) const SCHEMA: &str = "muster.run/v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub created_at: Timestamp,
    pub tool_version: String,
    /// Port 0 means that no port is opened.
    pub listen: SocketAddr,
    #[serde(flatten)]
    pub spec: RunSpec,
}

impl Manifest {
    /// Returns the manifest of a run that begins now.
    pub fn of(spec: RunSpec, listen: SocketAddr) -> Self {
        Self {
            created_at: Timestamp::now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            listen,
            spec,
        }
    }
}

/// The manifest as written to the file, with the schema first.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    schema: &'static str,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

impl<'a> Written<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
        Self { schema: SCHEMA, manifest }
    }
}

/// Parsed before the other fields, whose meaning depends on the schema.
#[derive(Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    pub(super) schema: String,
}
