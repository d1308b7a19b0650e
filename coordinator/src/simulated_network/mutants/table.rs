//! The mechanisms of the accounting, and the edits that remove them one at a time.

use super::{Edit, Mutant};

const DISPATCH: &str = "common/core/src/dispatch.rs";
const LEASE: &str = "common/core/src/lease.rs";
const OUTBOX: &str = "common/core/src/outbox.rs";
const AGENT_REQUESTS: &str = "agent/src/session/requests.rs";
const AGENT_SHUTDOWN: &str = "agent/src/session/shutdown.rs";
const CONNECTIONS: &str = "coordinator/src/run/controller/connections.rs";
const EXECUTOR: &str = "coordinator/src/run/controller/executor.rs";
const JOINING: &str = "coordinator/src/run/controller/joining.rs";
const SESSIONS: &str = "coordinator/src/run/controller/sessions.rs";
const CLEARANCE: &str = "coordinator/src/run/membership/clearance.rs";
const MEMBERSHIP: &str = "coordinator/src/run/membership/machine.rs";
const LAYOUT: &str = "coordinator/src/run/round/layout.rs";
const ROUND: &str = "coordinator/src/run/round/state.rs";
const KEEPER: &str = "coordinator/src/run/keeper.rs";
const WORK: &str = "coordinator/src/grpc/work.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "every result counts",
        edits: &[
            Edit {
                file: DISPATCH,
                find: "Settlement::Duplicate => «Receipt::Duplicate»",
                replace: "Receipt::Counted { attempt: 2 }",
            },
            Edit { file: DISPATCH, find: "if «self.ledger.is_settled(row)» {", replace: "false" },
        ],
    },
    Mutant {
        name: "fence of 2 s, shorter than the lease",
        edits: &[Edit {
            file: LEASE,
            find: "self.last_beat + «limits::FENCE»",
            replace: "std::time::Duration::from_secs(2)",
        }],
    },
    Mutant {
        name: "an agent goes on after its lease",
        edits: &[Edit {
            file: LEASE,
            find: "self.valid_from + «limits::LEASE»",
            replace: "limits::LEASE * 100",
        }],
    },
    Mutant {
        name: "unacknowledged results are forgotten",
        edits: &[Edit { file: AGENT_SHUTDOWN, find: "if «!results.is_empty()» {", replace: "false" }],
    },
    Mutant {
        name: "new rows run before unacknowledged results are sent again",
        edits: &[Edit { file: OUTBOX, find: "if «self.holds_inherited()» {", replace: "false" }],
    },
    Mutant {
        name: "a lost session is still served",
        edits: &[
            Edit { file: CONNECTIONS, find: "«connection.end();»", replace: "" },
            Edit { file: DISPATCH, find: "if «known.holder != Some(epoch)» {", replace: "false" },
        ],
    },
    Mutant {
        name: "a loss moves every host",
        edits: &[
            Edit {
                file: ROUND,
                find: "self.rows.reassign(«self.workers_of(slot)», owner)",
                replace: "0..self.workers.len()",
            },
            Edit {
                file: ROUND,
                find: "let best = || «to[candidates.owner(workload.hosts().name(host)) as usize]»;",
                replace: "to[host.index() % to.len()]",
            },
        ],
    },
    Mutant {
        name: "acknowledged before journaled",
        edits: &[Edit {
            file: KEEPER,
            find: "if «!self.commit()» {",
            replace: "acks.is_empty() && !self.commit()",
        }],
    },
    Mutant {
        name: "settling and journaling are separate",
        edits: &[Edit {
            file: WORK,
            find: "«self.last_number = number;»\n",
            replace: "self.last_number = number; tokio::time::sleep(std::time::Duration::from_millis(40)).await;",
        }],
    },
    Mutant {
        name: "rows of a lost session count as not sent",
        edits: &[Edit {
            file: DISPATCH,
            find: "«note_loss(&mut self.losses, task.row, epoch);»",
            replace: "",
        }],
    },
    Mutant {
        name: "old backends are not ended",
        edits: &[Edit {
            file: AGENT_REQUESTS,
            find: r#"«within(limits::END_BACKENDS_TIMEOUT, "older backends did not end", request).await»"#,
            replace: "drop(request); Ok(0)",
        }],
    },
    Mutant {
        name: "hosts move before old backends are ended",
        edits: &[Edit {
            file: MEMBERSHIP,
            find: "self.members.retire(slot);\n                    «self.fence(slot, Then::Move, now, effects);»",
            replace: "let to = self.members.running().map(|(_, grant)| grant.slot).collect(); effects.push(Effect::Move { slot, to });",
        }],
    },
    Mutant {
        name: "no wait after the database refuses",
        edits: &[Edit {
            file: MEMBERSHIP,
            find: "now + «wait.unwrap_or_default()»",
            replace: "std::time::Duration::ZERO",
        }],
    },
    Mutant {
        name: "a broken connection counts as an expired lease",
        edits: &[Edit {
            file: MEMBERSHIP,
            find: "if «self.phase == Phase::Running && !loss.is_drained» {",
            replace: "false",
        }],
    },
    Mutant {
        name: "a former session stays live",
        edits: &[Edit {
            file: MEMBERSHIP,
            find: "for id in «former.map(|(member, _)| member.id).collect::<Vec<_>>()» {",
            replace: "drop(former); Vec::new()",
        }],
    },
    Mutant {
        name: "every loss counts as a death",
        edits: &[Edit { file: EXECUTOR, find: "if «!returned.is_empty()» {", replace: "false" }],
    },
    Mutant {
        name: "resume does not wait one lease",
        edits: &[Edit {
            file: JOINING,
            find: "let not_before = clock::now() + «limits::FENCE»;",
            replace: "Duration::ZERO",
        }],
    },
    Mutant {
        name: "resume ends old backends before their leases expire",
        edits: &[
            Edit { file: JOINING, find: "&& «clock::now() < leases_lapse_at» {", replace: "false" },
            Edit {
                file: JOINING,
                find: "while let Some(until) = «events.sessions().clear_until()» {",
                replace: "events.sessions().clear_until().map(|until| until.max(leases_lapse_at))",
            },
        ],
    },
    Mutant {
        name: "resume does not end old backends",
        edits: &[
            Edit { file: CLEARANCE, find: "Self { open: «slots.collect()»,", replace: "BTreeSet::new()" },
            Edit {
                file: MEMBERSHIP, find: "let Some(member) = «live.clone().next()».map(", replace: "None"
            },
        ],
    },
    Mutant {
        name: "resume ends old backends of one slot only",
        edits: &[
            Edit { file: CLEARANCE, find: "if «self.open.is_empty()» {", replace: "true" },
            Edit {
                file: MEMBERSHIP,
                find: "«live.map(|(_, Grant { slot, epoch })| Effect::EndBackends { member, slot, below: epoch }).collect()»",
                replace: "live.take(1).map(|(_, Grant { slot, epoch })| Effect::EndBackends { member, slot, below: epoch }).collect()",
            },
        ],
    },
    Mutant {
        name: "resume numbers its epochs from 1",
        edits: &[Edit {
            file: SESSIONS,
            find: "«record.next_epoch()»",
            replace: "muster_core::ids::Epoch::new(1)",
        }],
    },
    Mutant {
        name: "resume forgets which rows were lost before",
        edits: &[Edit {
            file: LAYOUT,
            find: "«dispatch.remember_loss(rows, epoch);»",
            replace: "drop((rows, epoch));",
        }],
    },
    Mutant {
        name: "resume does not ask agents how long they ran",
        edits: &[Edit {
            file: LAYOUT,
            find: "«tally.ran_for_ns.max(sessions_ran_for_ns)»",
            replace: "tally.ran_for_ns",
        }],
    },
    Mutant {
        name: "rows sent are not journaled",
        edits: &[Edit {
            file: KEEPER,
            find: "«journal.sent(epoch, position(worker), &rows);»",
            replace: "drop((epoch, worker, rows));",
        }],
    },
];
