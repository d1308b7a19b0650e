//! A pooled connection for a session's queries beside the rows: statistics, plans, and the termination of other sessions' backends.
//! deadpool opens the connection on first use, and a new one after it has ended. Workers have their own connections. deadpool's trait
//! supports only tokio-postgres's errors, so the cause of a failure is stored next to the pool.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::connect;
use crate::connection::Connection;
use crate::failure::ConnectError;
use crate::role::{RoleError, RoleRule};
use crate::session_setup::SessionSetup;
use crate::settings::Settings;

/// The parameters with which every connection is opened.
#[derive(Clone)]
pub struct Connector {
    pub settings: Arc<Settings>,
    pub application_name: String,
    pub setup: SessionSetup,
    /// Checked on each connection before it is used.
    pub role: RoleRule,
}

/// The connection that was opened last, which is the pool's only one.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The address of the server, one of those in the settings.
    pub address: Address,
    /// True if the connection goes through a connection pooler.
    pub is_pooled: bool,
    /// The number of the connection in this pool.
    pub number: u64,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error("take a connection from the pool: {0}")]
    Pool(String),
}

pub struct ServerPool {
    pool: Pool,
    last: Arc<Mutex<LastAttempt>>,
}

/// The result of the last attempt to connect.
#[derive(Default)]
struct LastAttempt {
    opened: Option<Opened>,
    failure: Option<PoolError>,
}

impl ServerPool {
    /// # Errors
    /// The errors of deadpool.
    pub fn try_new(connector: Connector) -> Result<Self, PoolError> {
        let last = Arc::default();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let recorder = Recorder { connector, last: Arc::clone(&last) };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), recorder, recycling);
        // The maximum is one, so that the connection opened last is the one that is taken.
        let pool = Pool::builder(manager).max_size(1).build();
        let pool = pool.map_err(|error| PoolError::Pool(error.to_string()))?;
        Ok(Self { pool, last })
    }

    /// Returns the connection when it is not in use. The caller limits the time.
    ///
    /// # Errors
    /// When the connection cannot be opened.
    pub async fn get(&self) -> Result<(deadpool_postgres::Client, Opened), PoolError> {
        let client = self.pool.get().await;
        let mut last = lock(&self.last);
        match (client, &last.opened) {
            (Ok(client), Some(opened)) => Ok((client, opened.clone())),
            (Ok(_), None) => Err(PoolError::Pool("the connection was not opened by this pool".to_owned())),
            (Err(error), _) => Err(last.failure.take().unwrap_or(PoolError::Pool(error.to_string()))),
        }
    }

    /// Closes the connection unless it is in use. The next request opens another one.
    pub(crate) fn end_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Closes the connection permanently.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// Opens connections and records the result of the last attempt.
struct Recorder {
    connector: Connector,
    last: Arc<Mutex<LastAttempt>>,
}

type ClientAndDriver = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Recorder {
    /// Ignores the given configuration, because a `tokio_postgres::Config` cannot represent all settings.
    fn connect(
        &self,
        _: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = ClientAndDriver> + Send + '_>> {
        Box::pin(async move {
            match self.connector.connect().await {
                Ok((client, driver, address, is_pooled)) => {
                    let mut last = lock(&self.last);
                    let number = last.opened.as_ref().map_or(0, |opened| opened.number + 1);
                    *last =
                        LastAttempt { opened: Some(Opened { address, is_pooled, number }), failure: None };
                    // deadpool owns the task: it aborts it with the client.
                    Ok((client, driver))
                }
                Err(failure) => {
                    lock(&self.last).failure = Some(failure);
                    Err(placeholder_error())
                }
            }
        })
    }
}

impl Connector {
    async fn connect(&self) -> Result<(tokio_postgres::Client, JoinHandle<()>, Address, bool), PoolError> {
        let Self { settings, application_name, setup, role } = self;
        let Connection { client, driver, address, peer, .. } =
            connect::connect(settings, application_name, setup).await?;
        let driver = tokio::spawn(driver.run());
        role.check(&client).await?;
        Ok((client, driver, address, peer.is_pooler()))
    }
}

/// Ignores poisoning: the values are replaced as a whole under the lock.
fn lock(last: &Mutex<LastAttempt>) -> MutexGuard<'_, LastAttempt> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns an error of the type that deadpool requires, which only tokio-postgres can construct. It is never shown.
fn placeholder_error() -> tokio_postgres::Error {
    "port=none".parse::<tokio_postgres::Config>().expect_err("a port that is not a number is rejected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[tokio::test]
    async fn a_failure_is_reported_with_its_cause_and_not_as_the_placeholder() {
        let _ = placeholder_error();
        let empty = tempfile::tempdir().unwrap();
        let url = format!("postgresql://u@/db?host={}", empty.path().display());
        let settings = Arc::new(Settings::resolve(Some(&url.into()), &Environment::empty()).unwrap());
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: None,
            plan_cache_mode: None,
        };
        let (application_name, role) = ("muster".to_owned(), RoleRule::Any);
        let pool = ServerPool::try_new(Connector { settings, application_name, setup, role }).unwrap();
        for _ in 0..2 {
            let Err(error) = pool.get().await else { panic!("a server in an empty directory") };
            let error = error.to_string();
            assert!(error.contains(".s.PGSQL.5432' does not exist"), "{error}");
        }
    }
}
