//! The result of a placement, and how even it is. Makes no decisions.

use crate::ids::WorkerId;

/// The worker of every host. Positions refer to the given lists of hosts and workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    worker_of_host: Vec<u32>,
    loads: Vec<Load>,
}

/// The hosts and rows of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub worker: WorkerId,
    pub hosts: u64,
    pub rows: u64,
}

/// Summary of a placement, as printed by `coordinator plan` and included in every result.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// In the order of the given workers.
    pub workers: Vec<Load>,
    /// Number of workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ fair share. 1 if even; 0 without rows.
    pub skew: f64,
}

impl Assignment {
    pub(super) fn new(workers: &[WorkerId]) -> Self {
        let loads = workers.iter().map(|worker| Load { worker: *worker, hosts: 0, rows: 0 }).collect();
        Self { worker_of_host: Vec::new(), loads }
    }

    /// Assigns the next host to the worker at a position.
    pub(super) fn push(&mut self, worker: u32, rows: u64) {
        let load = &mut self.loads[worker as usize];
        load.hosts += 1;
        load.rows = load.rows.saturating_add(rows);
        self.worker_of_host.push(worker);
    }

    /// Returns the position of each host's worker.
    pub fn workers(&self) -> &[u32] {
        &self.worker_of_host
    }

    /// Returns the worker of the host at a position; `None` if there is no such host.
    pub fn worker_of(&self, host: usize) -> Option<WorkerId> {
        let position = *self.worker_of_host.get(host)?;
        self.loads.get(position as usize).map(|load| load.worker)
    }

    pub fn table(&self) -> Table {
        let rows: u128 = self.loads.iter().map(|load| u128::from(load.rows)).sum();
        let busiest = self.loads.iter().map(|load| load.rows).max().unwrap_or(0);
        let skew = if rows == 0 { 0.0 } else { busiest as f64 * self.loads.len() as f64 / rows as f64 };
        let idle = self.loads.iter().filter(|load| load.hosts == 0).count() as u64;
        Table { workers: self.loads.clone(), idle, skew }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SlotId;

    fn assignment(workers: u16, hosts: &[(u32, u64)]) -> Assignment {
        let workers: Vec<WorkerId> = (0..workers).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
        let mut assignment = Assignment::new(&workers);
        for (worker, rows) in hosts {
            assignment.push(*worker, *rows);
        }
        assignment
    }

    #[test]
    fn the_table_has_loads_idle_workers_and_skew() {
        let Table { workers, idle, skew } = assignment(4, &[(0, 6), (0, 2), (2, 2)]).table();
        let loads: Vec<_> =
            workers.iter().map(|load| (load.worker.to_string(), load.hosts, load.rows)).collect();
        let expected = [("slot-0/0", 2, 8), ("slot-1/0", 0, 0), ("slot-2/0", 1, 2), ("slot-3/0", 0, 0)];
        assert_eq!(loads, expected.map(|(worker, hosts, rows)| (worker.to_owned(), hosts, rows)));
        // 10 rows on 4 workers: a fair share is 2.5.
        assert_eq!((idle, skew), (2, 3.2));
    }

    #[test]
    fn without_rows_the_skew_is_zero() {
        let Table { idle, skew, .. } = assignment(3, &[]).table();
        assert_eq!((idle, skew), (3, 0.0));
        // A host without rows still counts as a host.
        assert_eq!(assignment(1, &[(0, 0)]).table().idle, 0);
    }

    #[test]
    fn worker_of_returns_the_worker_of_a_host() {
        let assignment = assignment(3, &[(2, 1), (0, 1)]);
        assert_eq!(assignment.worker_of(0).map(|worker| worker.to_string()), Some("slot-2/0".to_owned()));
        assert_eq!(assignment.worker_of(2), None);
    }
}
