//! Tests of facts and the record.

use muster_core::server_side::{DatabaseCounters, StatementCounters, Statements};

use muster_core::health::HealthTotals;
use muster_core::ids::{Epoch, SlotId};
use muster_core::server_identity::{Reconnects, ServerIdentity};
use muster_core::server_side::StatsSnapshot;
use muster_report::result::{Ending, Event};

use super::{Disconnected, Fact, Record};
use crate::run::server_stats::{Explained, ServerStats};

fn joined(slot: u16, epoch: u64) -> Fact {
    let (machine, version) = ("db1".to_owned(), "0.1.0".to_owned());
    Fact::Joined { slot, epoch, machine, process_id: 4711, version, workers: 2, instance: epoch }
}

fn reconnected(epoch: u64, count: u64) -> Fact {
    let reconnects = Reconnects { target: 0, server: ServerIdentity::default(), count, outage_max_ns: count };
    Fact::Reconnected { epoch, reconnects: Box::new(reconnects), is_counted: true }
}

#[test]
fn a_report_in_an_older_journal_has_no_broken_connections() {
    let fact: Fact = serde_json::from_str(r#"{"fact":"reported","epoch":3}"#).unwrap();
    assert_eq!(fact, Fact::Reported { epoch: 3, disconnected: 0, disconnected_max_ns: 0 });
}

#[test]
fn a_repeated_event_is_one_event_with_a_count() {
    let mut record = Record::default();
    let lost = |times| Event { times, ..Event::once(1.5, "slot-0 lost".to_owned()) };
    for event in [lost(1), Event::once(2.0, "slot-1 joined".to_owned()), lost(2), lost(3)] {
        record.apply(Fact::Happened(event));
    }
    // The same text at another time is another event.
    record.apply(Fact::Happened(Event::once(9.0, "slot-0 lost".to_owned())));
    let events: Vec<(f64, u64)> = record.events.iter().map(|event| (event.at_ms, event.times)).collect();
    assert_eq!(events, [(1.5, 3), (2.0, 1), (9.0, 1)]);
}

fn totals(time_ns: u64) -> HealthTotals {
    HealthTotals { time_ns, ..HealthTotals::default() }
}

fn snapshot() -> StatsSnapshot {
    StatsSnapshot {
        server: "1/5".to_owned(),
        identity: None,
        database: DatabaseCounters { commits: u64::MAX, ..DatabaseCounters::default() },
        times_reads: true,
        statements: Ok(Statements {
            counters: vec![
                Ok(StatementCounters { exec_ns: u64::MAX, ..Default::default() }),
                Err("no entry".to_owned()),
            ],
            times_planning: false,
            reset: String::new(),
        }),
        hypertables: Err("refused".to_owned()),
    }
}

#[test]
fn facts_survive_json_and_give_the_same_record() {
    let facts = [
        joined(0, 1),
        joined(1, 2),
        Fact::Placed { workers: vec![2, 2] },
        Fact::Began { slot: 0, epoch: 1, offset_ns: 0 },
        Fact::Armed { at: "2026-11-23T00:00:00Z".to_owned() },
        reconnected(1, 3),
        reconnected(1, 4),
        Fact::Reported { epoch: 2, disconnected: 1, disconnected_max_ns: u64::MAX },
        Fact::Lost {
            epoch: 1,
            reason: "no heartbeat".to_owned(),
            drained: false,
            left: false,
            at_ns: Some(5),
        },
        Fact::Quarantined { rows: vec![7] },
        Fact::Returned { instance: 1 },
        Fact::Moved { from: 0, to: vec![2, 3] },
        Fact::Health { epoch: 2, sum: Box::new(totals(1)) },
        Fact::Health { epoch: 2, sum: Box::new(totals(5)) },
        Fact::CoordinatorHealth { sum: Box::new(totals(6)) },
        Fact::StatsTaken { is_last: false, snapshot: Box::new(snapshot()) },
        Fact::NoStats { why: "no answer".to_owned() },
        Fact::Explained(Box::new(Explained {
            row: 7,
            host: "a".to_owned(),
            statement: 0,
            service_time_ns: u64::MAX,
            plan: Err("it writes".to_owned()),
            execution: 12,
            kind: Some(muster_report::result::PlanKind::Generic),
        })),
        Fact::Happened(Event::once(1.5, "slot-0 given up".to_owned())),
        Fact::Ended { ending: Ending::Completed, start_skew_ns: Some(5), duplicates: 1, stale: 0 },
    ];
    let (mut direct, mut read_back) = (Record::default(), Record::default());
    for fact in facts {
        let json = serde_json::to_vec(&fact).unwrap();
        read_back.apply(serde_json::from_slice(&json).unwrap());
        direct.apply(fact);
    }
    assert_eq!(direct, read_back);
    assert_eq!(direct.sessions[0].lost.as_ref().map(|loss| loss.reason.as_str()), Some("no heartbeat"));
    assert_eq!(direct.workers_of(SlotId::new(1)), 2..4);
    assert_eq!(direct.ending, Some(Ending::Completed));
    assert_eq!(direct.sessions[1].health, Some(totals(5)), "later totals include the earlier ones");
    assert_eq!(direct.coordinators, [totals(6)]);
    let reconnects = &direct.sessions[0].reconnects;
    assert_eq!(reconnects.iter().map(|sum| (sum.count, sum.outage_max_ns)).collect::<Vec<_>>(), [(7, 4)]);
    assert_eq!(direct.sessions[1].disconnected, Disconnected { count: 1, outage_max_ns: u64::MAX });
    assert_eq!(direct.server.before, Some(snapshot()));
    assert_eq!((direct.server.problems.len(), direct.server.plans.len()), (1, 1));
}

#[test]
fn only_a_lost_process_that_did_not_return_counts_as_dead() {
    let lost = |epoch, reason: &str, left| Fact::Lost {
        epoch,
        reason: reason.to_owned(),
        drained: false,
        left,
        at_ns: None,
    };
    let mut record = Record::default();
    (1..=4).for_each(|epoch| record.apply(joined(0, epoch)));
    record.apply(lost(1, "no heartbeat", false));
    record.apply(lost(2, "asked to stop", true));
    record.apply(lost(3, "closed its connection", false));
    let without_death = |record: &Record| record.without_death().map(Epoch::get).collect::<Vec<_>>();
    assert_eq!(without_death(&record), [2], "a live session may still die");
    record.apply(Fact::Resumed);
    assert_eq!(without_death(&record), [2, 4], "one was asked to stop, the other's coordinator died");
    record.apply(Fact::Returned { instance: 3 });
    assert_eq!(without_death(&record), [2, 3, 4]);
    assert_eq!(record.presumed_dead(1).collect::<Vec<_>>(), [Epoch::new(1)]);
}

#[test]
fn facts_of_an_earlier_version_are_read() {
    let joined =
        r#"{"fact":"joined","slot":0,"epoch":1,"machine":"a","process_id":1,"version":"0.1.0","workers":1}"#;
    let lost = r#"{"fact":"lost","epoch":1,"reason":"no heartbeat","drained":false}"#;
    let mut record = Record::default();
    for json in [joined, lost] {
        record.apply(serde_json::from_str(json).unwrap());
    }
    assert_eq!(record.without_death().count(), 0, "no process is known to have returned");
}

#[test]
fn server_statistics_are_discarded_when_the_aggregates_are_reset() {
    for fact in [Fact::Resumed, Fact::Confirming { rate: 1.0, lasts_ms: 1.0 }] {
        let mut record = Record::default();
        record.apply(Fact::StatsTaken { is_last: true, snapshot: Box::new(snapshot()) });
        record.apply(fact);
        assert_eq!(record.server, ServerStats::default());
    }
}

#[test]
fn each_coordinator_of_a_run_has_its_own_health_totals() {
    let mut record = Record::default();
    record.apply(Fact::CoordinatorHealth { sum: Box::new(totals(3)) });
    record.apply(Fact::Resumed);
    record.apply(Fact::Resumed);
    record.apply(Fact::CoordinatorHealth { sum: Box::new(totals(4)) });
    assert_eq!(record.coordinators, [totals(3), HealthTotals::default(), totals(4)]);
}

#[test]
fn a_resumed_run_assigns_epochs_above_all_earlier_ones() {
    let mut record = Record::default();
    assert!(record.next_epoch() > Epoch::new(1_000), "a journal may have lost all of them");
    record.apply(joined(0, 7));
    record.apply(Fact::Began { slot: 0, epoch: 7, offset_ns: 0 });
    record.apply(Fact::Resumed);
    assert!(record.next_epoch() > Epoch::new(1_000));
    assert!(record.resumed == 1 && record.sessions[0].lost.is_some());
}
