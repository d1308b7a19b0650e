//! What the workers of a session connect to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use muster_core::session_spec::SessionSpec;

use crate::role::RoleRule;
use crate::session_setup::SessionSetup;
use crate::settings::Settings;

/// The configuration with which every worker of a session opens its connection.
#[derive(Debug, Clone)]
pub struct Target {
    pub settings: Arc<Settings>,
    pub setup: SessionSetup,
    /// The application name of the session. Behind a pooler each worker adds its number ([`Target::worker_name`]).
    pub application_name: String,
    pub spec: Arc<SessionSpec>,
    pub role: RoleRule,
    /// Descriptions of the databases for which the warning about a superuser has been logged.
    pub warned: Arc<Mutex<BTreeSet<String>>>,
}

impl Target {
    /// Logs a warning once for each database.
    pub(crate) fn warn_of_superuser(&self) {
        let database = self.settings.describe();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if self.role == RoleRule::WarnOfSuperuser && warned.insert(database.clone()) {
            tracing::warn!(
                "the role of {database} is a superuser, and the coordinator's SQL runs with its privileges: use a role that can only read \
                 (agent --require-read-only-role prints how to make one)"
            );
        }
    }

    /// Returns the application name of one worker. Behind a pooler, only this name distinguishes its queries from those of other clients.
    pub(crate) fn worker_name(&self, worker: u16) -> String {
        format!("{}/{worker}", self.application_name)
    }
}
