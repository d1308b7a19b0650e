//! A finished placement, and how even it is.

use crate::ids::WorkerId;

/// The worker of every host, by position: hosts and workers in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    worker_of_host: Vec<u32>,
    loads: Vec<Load>,
}

/// What one worker got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub worker: WorkerId,
    pub hosts: u64,
    pub rows: u64,
}

/// A placement at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub workers: Vec<Load>,
    /// Workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ fair share; 1 is even, 0 without rows.
    pub skew: f64,
}

impl Assignment {
    pub(super) fn new(
        workers: &[WorkerId],
        worker_of_host: Vec<u32>,
        rows_of_host: impl Iterator<Item = u64>,
    ) -> Self {
        let mut loads: Vec<Load> =
            workers.iter().map(|worker| Load { worker: *worker, hosts: 0, rows: 0 }).collect();
        for (worker, rows) in worker_of_host.iter().zip(rows_of_host) {
            let load = &mut loads[*worker as usize];
            load.hosts += 1;
            load.rows += rows;
        }
        Self { worker_of_host, loads }
    }

    /// By host: its worker.
    pub fn workers(&self) -> &[u32] {
        &self.worker_of_host
    }

    pub fn table(&self) -> Table {
        let rows: u64 = self.loads.iter().map(|load| load.rows).sum();
        let busiest = self.loads.iter().map(|load| load.rows).max().unwrap_or(0);
        let skew = if rows == 0 { 0.0 } else { busiest as f64 * self.loads.len() as f64 / rows as f64 };
        let idle = self.loads.iter().filter(|load| load.hosts == 0).count() as u64;
        Table { workers: self.loads.clone(), idle, skew }
    }
}
