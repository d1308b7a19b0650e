//! The placement plan that `coordinator plan` prints. The placement is computed elsewhere; the JSON has the fields of [`PlanTable`].

use serde::Serialize;

use crate::result::Placement;

use super::model::{Block, Field, Report, Section, Span};
use super::placement;
use super::table::{Cell, ColumnKind, TableOf};
use crate::units::{count, counted};

/// Maximum number of workers in the table; if there are more, it lists the busiest.
const WORKERS_MAX: usize = 40;
/// Steps of the busiest worker's bar.
const BAR_STEPS: u128 = 32;

/// The assignment of hosts and rows to workers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanTable {
    /// The file name as typed; `-` for standard input.
    pub file: String,
    pub rows: u64,
    pub hosts: u64,
    /// `rendezvous` or `balanced`.
    pub method: String,
    /// All workers, including idle ones, in the order of their names.
    pub workers: Vec<PlanWorker>,
    /// Workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ fair share; 1 is even. 0 without rows.
    pub skew: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanWorker {
    /// `slot-3/0`.
    pub worker: String,
    pub hosts: u64,
    pub rows: u64,
}

pub fn report(plan: &PlanTable) -> Report {
    let placement = Placement {
        method: plan.method.clone(),
        workers: plan.workers.len() as u64,
        idle: plan.idle,
        skew: plan.skew,
    };
    let workload =
        [Span::Path(plan.file.clone()), counted(plan.rows, "row").into(), counted(plan.hosts, "host").into()];
    let fields = vec![Field::new("workload", workload), placement::field(&placement, plan.hosts)];
    Report { sections: vec![Section::overview("Plan", fields), workers(&plan.workers)], ..Report::default() }
}

fn workers(workers: &[PlanWorker]) -> Section {
    let mut shown: Vec<&PlanWorker> = workers.iter().collect();
    let is_cut = shown.len() > WORKERS_MAX;
    if is_cut {
        // The sort is stable, so workers with equal rows stay in the order of their names.
        shown.sort_by_key(|worker| std::cmp::Reverse(worker.rows));
        shown.truncate(WORKERS_MAX);
    }
    let most = shown.iter().map(|worker| worker.rows).max().unwrap_or(0);
    let table = TableOf::new(shown)
        .names("worker", |worker| &worker.worker)
        .counts("hosts", |worker| worker.hosts)
        .counts("rows", |worker| worker.rows)
        .column("", ColumnKind::Name, |worker| bar(worker, most));
    let section = Section::new("Workers", vec![Block::Table(table.table())]);
    let omitted = format!("the {WORKERS_MAX} busiest of {} (in the JSON: all)", count(workers.len() as u64));
    if is_cut { section.about(omitted) } else { section }
}

/// A bar proportional to the rows, relative to the busiest worker; at least one step if there are rows.
fn bar(worker: &PlanWorker, most: u64) -> Cell {
    if worker.hosts == 0 {
        return "idle".into();
    }
    let length = (u128::from(worker.rows) * BAR_STEPS).div_ceil(u128::from(most.max(1)));
    Cell::Bar(usize::try_from(length).expect("at most the steps of the longest bar"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::page::{WIDTH, columns};
    use crate::{json, text};

    /// Ten workers, the busiest with 2.9 times its share, the last idle.
    fn classic() -> PlanTable {
        let rows = [58, 36, 24, 22, 20, 18, 12, 6, 4, 0];
        PlanTable {
            file: "data/query_params.csv".to_owned(),
            rows: 200,
            hosts: 10,
            method: "rendezvous".to_owned(),
            workers: workers(&rows),
            idle: 1,
            skew: 2.9,
        }
    }

    fn workers(rows: &[u64]) -> Vec<PlanWorker> {
        let worker = |(i, rows): (usize, &u64)| PlanWorker {
            worker: format!("slot-{i}/0"),
            hosts: rows.div_ceil(20),
            rows: *rows,
        };
        rows.iter().enumerate().map(worker).collect()
    }

    #[test]
    fn text_of_an_uneven_plan() {
        insta::assert_snapshot!(text::render(&report(&classic())), @r"
        workload               data/query_params.csv · 200 rows · 10 hosts
        placement              rendezvous · 10 workers · 1 idle · skew 2.90×
                               uneven: too few hosts for even hashing
                               try --placement balanced

        WORKERS
          worker    hosts  rows
          slot-0/0      3    58  ################################
          slot-1/0      2    36  ####################
          slot-2/0      2    24  ##############
          slot-3/0      2    22  #############
          slot-4/0      1    20  ############
          slot-5/0      1    18  ##########
          slot-6/0      1    12  #######
          slot-7/0      1     6  ####
          slot-8/0      1     4  ###
          slot-9/0      0     0  idle
        ");
    }

    #[test]
    fn of_more_than_forty_workers_the_busiest_are_listed() {
        let rows: Vec<u64> = (0..100).collect();
        let plan = PlanTable { workers: workers(&rows), ..classic() };
        let text = text::render(&report(&plan));
        let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("WORKERS")).collect();
        assert_eq!(table[0], "WORKERS   the 40 busiest of 100 (in the JSON: all)");
        assert_eq!(table.len(), 2 + 40);
        assert!(table[2].starts_with("  slot-99/0") && table[41].starts_with("  slot-60/0"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        let mut plan = PlanTable { file: "f".repeat(300), rows: u64::MAX, ..classic() };
        plan.workers[3] = PlanWorker { worker: "w".repeat(90), hosts: u64::MAX, rows: u64::MAX };
        for line in text::render(&report(&plan)).lines() {
            assert!(columns(line) <= WIDTH, "{line}");
        }
    }

    #[test]
    fn an_even_plan_has_no_hint_and_a_plan_without_rows_has_no_bars() {
        let even = PlanTable { workers: workers(&[0, 0]), idle: 0, skew: 0.0, ..classic() };
        let text = text::render(&report(&even));
        assert!(!text.contains("uneven") && !text.contains('#'), "{text}");
    }

    #[test]
    fn the_json_has_every_worker() {
        let rows: Vec<u64> = (0..100).collect();
        let plan = PlanTable { workers: workers(&rows), ..classic() };
        let json: serde_json::Value = serde_json::from_str(&json::render(&plan)).unwrap();
        assert_eq!(json["workers"].as_array().unwrap().len(), 100);
        assert_eq!(json["workers"][99], serde_json::json!({"worker": "slot-99/0", "hosts": 5, "rows": 99}));
        assert_eq!(json["skew"], 2.9);
    }
}
