//! One worker's connection, kept by a deadpool of size one: it replaces a connection that ended. With one connection a
//! pool, "the connection opened last" is the worker's own, which is what lets its stream and its stopwatch be found.
//! deadpool's trait speaks only tokio-postgres's errors, so what really failed is left beside the pool.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio::task::JoinHandle;

use super::connect::{self, SessionSetup, Wire};
use super::failure::ConnectError;
use super::settings::Settings;

/// How a worker's connections are opened, each like the one before.
#[derive(Clone)]
pub struct Connector {
    settings: Arc<Settings>,
    application_name: String,
    setup: SessionSetup,
    last: Arc<Mutex<Last>>,
}

/// What became of the latest attempt to connect.
#[derive(Default)]
struct Last {
    wire: Option<Wire>,
    failure: Option<ConnectError>,
}

impl Connector {
    pub fn new(settings: Arc<Settings>, application_name: String, setup: SessionSetup) -> Self {
        Self { settings, application_name, setup, last: Arc::default() }
    }
}

type Opened = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    /// The settings given here are passed over: a `tokio_postgres::Config` cannot carry ours.
    fn connect(&self, _: &tokio_postgres::Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async move {
            match connect::connect(&self.settings, &self.application_name, &self.setup).await {
                Ok(connection) => {
                    let mut last = locked(&self.last);
                    *last = Last { wire: Some(connection.wire), failure: None };
                    drop(last);
                    // deadpool owns the task: it aborts it with the client.
                    Ok((connection.client, tokio::spawn(connection.driver.run())))
                }
                Err(failure) => {
                    *locked(&self.last) = Last { wire: None, failure: Some(failure) };
                    Err(stand_in())
                }
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("take the worker's connection: {0}")]
    Pool(String),
}

#[derive(Clone)]
pub struct WorkerPool {
    pool: Pool,
    last: Arc<Mutex<Last>>,
}

impl WorkerPool {
    pub fn try_new(connector: Connector) -> Result<Self, PoolError> {
        let last = Arc::clone(&connector.last);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), connector, recycling);
        let pool = Pool::builder(manager).max_size(1).build();
        let pool = pool.map_err(|error| PoolError::Pool(error.to_string()))?;
        Ok(Self { pool, last })
    }

    /// The worker's connection, opened anew when the last one ended. Held for a whole run: deadpool's own cost stays
    /// off the timed path.
    pub async fn get(&self) -> Result<(deadpool_postgres::Client, Wire), PoolError> {
        let client = self.pool.get().await;
        let mut last = locked(&self.last);
        match (client, last.wire.take()) {
            (Ok(client), Some(wire)) => Ok((client, wire)),
            (Ok(_), None) => Err(PoolError::Pool("a connection that nobody opened".to_owned())),
            (Err(error), _) => Err(match last.failure.take() {
                Some(failure) => PoolError::Connect(failure),
                None => PoolError::Pool(error.to_string()),
            }),
        }
    }
}

/// Plain values are replaced whole under the lock, so a panic elsewhere cannot have left them half-written.
fn locked(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the type that deadpool asks for, which nobody outside tokio-postgres can build. It is never shown.
fn stand_in() -> tokio_postgres::Error {
    "port=none".parse::<tokio_postgres::Config>().expect_err("a port that is no number is refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::environment::Environment;

    #[tokio::test]
    async fn a_failure_is_told_in_full_and_not_as_its_stand_in() {
        let _ = stand_in();
        let nowhere = tempfile::tempdir().unwrap();
        let url = format!("postgresql://u@/db?host={}", nowhere.path().display());
        let settings = Settings::resolve(Some(&url.into()), &Environment::empty()).unwrap();
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: None,
            plan_cache_mode: None,
        };
        let pool =
            WorkerPool::try_new(Connector::new(Arc::new(settings), "muster".to_owned(), setup)).unwrap();
        for _ in 0..2 {
            let Err(error) = pool.get().await else { panic!("somebody serves in an empty directory") };
            let error = error.to_string();
            assert!(error.contains(".s.PGSQL.5432' does not exist"), "{error}");
        }
    }
}
