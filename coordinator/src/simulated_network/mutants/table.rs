//! The mechanisms of the accounting, and the edits that remove them one at a time.

use super::{Edit, Mutant};

const DISPATCH: &str = "common/core/src/dispatch.rs";
const LEASE: &str = "common/core/src/lease.rs";
const OUTBOX: &str = "common/core/src/outbox.rs";
const SESSION: &str = "agent/src/session.rs";
const AGENT_FENCES: &str = "agent/src/session/fences.rs";
const CONTROLLER: &str = "coordinator/src/run/controller/mod.rs";
const CALLS: &str = "coordinator/src/run/controller/calls.rs";
const OPENING: &str = "coordinator/src/run/controller/opening.rs";
const RECOVERY: &str = "coordinator/src/run/controller/recovery.rs";
const KEEPER: &str = "coordinator/src/run/keeper.rs";
const MEMBERSHIP: &str = "coordinator/src/run/membership.rs";
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
        edits: &[Edit { file: SESSION, find: "if «!results.is_empty()» {", replace: "false" }],
    },
    Mutant {
        name: "new rows run before unacknowledged results are sent again",
        edits: &[Edit { file: OUTBOX, find: "if «self.holds_inherited()» {", replace: "false" }],
    },
    Mutant {
        name: "a lost session is still served",
        edits: &[
            Edit {
                file: MEMBERSHIP,
                find: "«member.ended.cancel();\n        member.share.send_replace(None);»\n        member.lost =",
                replace: "",
            },
            Edit { file: DISPATCH, find: "if «known.holder != Some(epoch)» {", replace: "false" },
        ],
    },
    Mutant {
        name: "a loss moves every host",
        edits: &[
            Edit {
                file: RECOVERY,
                find: "self.rows.reassign(«self.workers_of(slot)», owner)",
                replace: "0..self.workers.len()",
            },
            Edit {
                file: RECOVERY,
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
            file: AGENT_FENCES,
            find: "«timeout(limits::END_BACKENDS_TIMEOUT, request).await»",
            replace: "drop(request); Ok(Ok(0))",
        }],
    },
    Mutant {
        name: "hosts move before old backends are ended",
        edits: &[Edit {
            file: RECOVERY,
            find: "retire(slot);\n        «self.ask_to_end_backends(slot, now);»",
            replace: "self.fences.0.insert(slot, Fence { asked: Asked::Failed, until: now, then: Then::Move });",
        }],
    },
    Mutant {
        name: "no wait after the database refuses",
        edits: &[
            Edit {
                file: RECOVERY,
                find: "clock::now() + «wait.unwrap_or_default()»",
                replace: "Duration::ZERO",
            },
            Edit {
                file: RECOVERY,
                find: "«self.plan.timeout.map_or(Duration::ZERO, |limit| limit + limits::CANCEL_GRACE)»",
                replace: "Duration::ZERO",
            },
        ],
    },
    Mutant {
        name: "a broken connection counts as an expired lease",
        edits: &[Edit {
            file: RECOVERY,
            find: "if «!loss.is_drained» {\n            let lapses_at",
            replace: "false",
        }],
    },
    Mutant {
        name: "a former session stays live",
        edits: &[Edit { file: CALLS, find: "for id in «former» {", replace: "Vec::<MemberId>::new()" }],
    },
    Mutant {
        name: "every loss counts as a death",
        edits: &[Edit {
            file: CALLS,
            find: "if «hello.instance != 0 && !returned.is_empty()» {",
            replace: "false",
        }],
    },
    Mutant {
        name: "resume does not wait one lease",
        edits: &[Edit {
            file: CONTROLLER,
            find: "let not_before = clock::now() + «limits::FENCE»;",
            replace: "Duration::ZERO",
        }],
    },
    Mutant {
        name: "resume ends old backends before their leases expire",
        edits: &[
            Edit { file: RECOVERY, find: "&& «clock::now() < leases_lapse_at» {", replace: "false" },
            Edit {
                file: RECOVERY,
                find: "let (mut begins_at, mut give_up_at) = («clock::now()»,",
                replace: "leases_lapse_at.max(clock::now())",
            },
        ],
    },
    Mutant {
        name: "resume does not end old backends",
        edits: &[Edit {
            file: RECOVERY,
            find: "let grants: Vec<Grant> = «self.membership.live().filter_map(|member| member.grant).collect()»;",
            replace: "Vec::new()",
        }],
    },
    Mutant {
        name: "resume ends old backends of one slot only",
        edits: &[
            Edit {
                file: RECOVERY,
                find: "for Grant { slot, epoch } in «&grants» {",
                replace: "&grants[..1]",
            },
            Edit {
                file: RECOVERY,
                find: "«grants.iter().all(|grant| self.cleared.contains(&grant.slot))»",
                replace: "!self.cleared.is_empty()",
            },
        ],
    },
    Mutant {
        name: "resume numbers its epochs from 1",
        edits: &[Edit {
            file: OPENING,
            find: "«record.next_epoch()»",
            replace: "muster_core::ids::Epoch::new(1)",
        }],
    },
    Mutant {
        name: "resume forgets which rows were lost before",
        edits: &[Edit {
            file: OPENING,
            find: "«dispatch.remember_loss(rows, epoch);»",
            replace: "drop((rows, epoch));",
        }],
    },
    Mutant {
        name: "resume does not ask agents how long they ran",
        edits: &[Edit {
            file: OPENING,
            find: "«tally.ran_for_ns.max(self.former_sessions_ran_for_ns())»",
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
