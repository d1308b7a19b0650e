//! The placement plan that `coordinator plan` prints, as a table or as JSON. The placement is computed elsewhere.

use muster_common::result::Placement;
use serde::Serialize;

use super::page::{Page, shorten_path};
use super::table::{Align, Table};
use super::uneven::uneven;
use super::units::{count, counted, times};

/// Maximum number of workers in the table; if there are more, it lists the busiest.
const WORKERS_MAX: usize = 40;
const PATH_WIDTH: usize = 57;
/// Length of the busiest worker's bar in characters.
const BAR_WIDTH: u64 = 32;

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

/// Renders the plan as text, 80 columns wide.
pub fn text(plan: &PlanTable) -> String {
    let mut page = Page::default();
    let placement = Placement {
        method: plan.method.clone(),
        workers: plan.workers.len() as u64,
        idle: plan.idle,
        skew: plan.skew,
    };
    page.field(
        "workload",
        &[shorten_path(&plan.file, PATH_WIDTH), counted(plan.rows, "row"), counted(plan.hosts, "host")],
    );
    page.field(
        "placement",
        &[
            plan.method.clone(),
            counted(placement.workers, "worker"),
            format!("{} idle", count(plan.idle)),
            format!("skew {}", times(plan.skew)),
        ],
    );
    page.field("", &uneven(&placement, plan.hosts));
    workers(&mut page, &plan.workers);
    page.finish()
}

/// Renders the plan as JSON: the fields of `PlanTable` with all workers.
pub fn json(plan: &PlanTable) -> String {
    let json =
        serde_json::to_string_pretty(plan).expect("the plan contains only numbers, strings and a list");
    json + "\n"
}

fn workers(page: &mut Page, workers: &[PlanWorker]) {
    let mut shown: Vec<&PlanWorker> = workers.iter().collect();
    let cut = shown.len() > WORKERS_MAX;
    if cut {
        // The sort is stable, so workers with equal rows stay in the order of their names.
        shown.sort_by_key(|worker| std::cmp::Reverse(worker.rows));
        shown.truncate(WORKERS_MAX);
    }
    page.section(&if cut {
        format!("WORKERS   the {WORKERS_MAX} busiest of {} (in the JSON: all)", count(workers.len() as u64))
    } else {
        "WORKERS".to_owned()
    });
    let most = shown.iter().map(|worker| worker.rows).max().unwrap_or(0);
    let mut table = Table::new([
        ("worker", Align::Left),
        ("hosts", Align::Right),
        ("rows", Align::Right),
        ("", Align::Left),
    ]);
    for worker in shown {
        let bar = if worker.hosts == 0 { "idle".to_owned() } else { bar(worker.rows, most) };
        table.row([worker.worker.clone(), count(worker.hosts), count(worker.rows), bar]);
    }
    page.table(&table);
}

/// A bar proportional to the rows, relative to the busiest worker; at least one character if there are rows.
fn bar(rows: u64, most: u64) -> String {
    let length = (u128::from(rows) * u128::from(BAR_WIDTH)).div_ceil(u128::from(most.max(1)));
    "#".repeat(usize::try_from(length).expect("at most the width of a bar"))
}

#[cfg(test)]
mod tests {
    use super::super::page::{WIDTH, columns};
    use super::*;

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
        insta::assert_snapshot!(text(&classic()), @r"
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
        let text = text(&plan);
        let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("WORKERS")).collect();
        assert_eq!(table[0], "WORKERS   the 40 busiest of 100 (in the JSON: all)");
        assert_eq!(table.len(), 2 + 40);
        assert!(table[2].starts_with("  slot-99/0") && table[41].starts_with("  slot-60/0"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        let mut plan = PlanTable { file: "f".repeat(300), rows: u64::MAX, ..classic() };
        plan.workers[3] = PlanWorker { worker: "w".repeat(90), hosts: u64::MAX, rows: u64::MAX };
        for line in text(&plan).lines() {
            assert!(columns(line) <= WIDTH, "{line}");
        }
    }

    #[test]
    fn an_even_plan_has_no_hint_and_a_plan_without_rows_has_no_bars() {
        let even = PlanTable { workers: workers(&[0, 0]), idle: 0, skew: 0.0, ..classic() };
        let text = text(&even);
        assert!(!text.contains("uneven") && !text.contains('#'), "{text}");
    }

    #[test]
    fn the_json_has_every_worker() {
        let rows: Vec<u64> = (0..100).collect();
        let plan = PlanTable { workers: workers(&rows), ..classic() };
        let json: serde_json::Value = serde_json::from_str(&json(&plan)).unwrap();
        assert_eq!(json["workers"].as_array().unwrap().len(), 100);
        assert_eq!(json["workers"][99], serde_json::json!({"worker": "slot-99/0", "hosts": 5, "rows": 99}));
        assert_eq!(json["skew"], 2.9);
    }
}
