//! Connections for what a session asks the server beside its queries: statistics and plans, and the end of other sessions' backends. A
//! deadpool opens one when it is asked for the first time, and another one when that has ended. Workers hold their own connections.
//! deadpool's trait knows only tokio-postgres's errors, so the reason of a failure is left beside the pool.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio::task::JoinHandle;

use super::address::Address;
use super::connect::{self, Connection, SessionSetup};
use super::failure::ConnectError;
use super::role::{RoleError, RoleRule};
use super::settings::Settings;

/// How connections are opened, each like the one before.
#[derive(Clone)]
pub struct Connector {
    pub settings: Arc<Settings>,
    pub application_name: String,
    pub setup: SessionSetup,
    /// Checked on each connection before it is used.
    pub role: RoleRule,
}

/// Of the connection that was opened last, which is the pool's only one.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Which of several hosts answered.
    pub address: Address,
    pub is_pooled: bool,
    /// Counts the connections of the pool.
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
    last: Arc<Mutex<Last>>,
}

/// What became of the latest attempt to connect.
#[derive(Default)]
struct Last {
    opened: Option<Opened>,
    failure: Option<PoolError>,
}

impl ServerPool {
    /// # Errors
    /// deadpool's.
    pub fn try_new(connector: Connector) -> Result<Self, PoolError> {
        let last = Arc::default();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let remembered = Remembered { connector, last: Arc::clone(&last) };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), remembered, recycling);
        // One, so that what was opened last is what is taken.
        let pool = Pool::builder(manager).max_size(1).build();
        let pool = pool.map_err(|error| PoolError::Pool(error.to_string()))?;
        Ok(Self { pool, last })
    }

    /// The connection, once no one else has it. The caller bounds the time.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<(deadpool_postgres::Client, Opened), PoolError> {
        let client = self.pool.get().await;
        let mut last = lock(&self.last);
        match (client, &last.opened) {
            (Ok(client), Some(opened)) => Ok((client, opened.clone())),
            (Ok(_), None) => Err(PoolError::Pool("it was not opened here".to_owned())),
            (Err(error), _) => Err(last.failure.take().unwrap_or(PoolError::Pool(error.to_string()))),
        }
    }

    /// Ends the connection unless it is in use. The next request opens another one.
    pub fn end_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Ends the connection for good.
    pub fn close(&self) {
        self.pool.close();
    }
}

struct Remembered {
    connector: Connector,
    last: Arc<Mutex<Last>>,
}

type ClientAndDriver = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Remembered {
    /// The settings given here are passed over: a `tokio_postgres::Config` cannot carry ours.
    fn connect(
        &self,
        _: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = ClientAndDriver> + Send + '_>> {
        Box::pin(async move {
            match self.connector.connect().await {
                Ok((client, driver, address, is_pooled)) => {
                    let mut last = lock(&self.last);
                    let number = last.opened.as_ref().map_or(0, |opened| opened.number + 1);
                    *last = Last { opened: Some(Opened { address, is_pooled, number }), failure: None };
                    // deadpool owns the task: it aborts it with the client.
                    Ok((client, driver))
                }
                Err(failure) => {
                    lock(&self.last).failure = Some(failure);
                    Err(stand_in())
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

/// Plain values are replaced whole under the lock, so a panic elsewhere cannot have left them half-written.
fn lock(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the type that deadpool asks for, which no one outside tokio-postgres can build. It is never shown.
fn stand_in() -> tokio_postgres::Error {
    "port=none".parse::<tokio_postgres::Config>().expect_err("a port that is no number is refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::environment::Environment;

    #[tokio::test]
    async fn a_failure_is_reported_in_full_and_not_as_its_stand_in() {
        let _ = stand_in();
        let nowhere = tempfile::tempdir().unwrap();
        let url = format!("postgresql://u@/db?host={}", nowhere.path().display());
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
