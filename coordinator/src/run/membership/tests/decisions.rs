//! Single decisions.

use muster_core::ids::RowId;
use muster_core::limits;

use super::super::EndReason;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const SLOT: SlotId = SlotId::new(0);

/// The effects that begin, move or end something, without notes and messages.
fn decisive(effects: Vec<Effect>) -> Vec<Effect> {
    let is_decisive = |effect: &Effect| {
        matches!(
            effect,
            Effect::Begin { .. } | Effect::Move { .. } | Effect::EndBackends { .. } | Effect::End(_)
        )
    };
    effects.into_iter().filter(is_decisive).collect()
}

#[test]
fn a_replacement_begins_when_the_lost_lease_has_expired_and_older_backends_are_ended() {
    let mut run = Run::running(2, OnAgentLoss::Reassign);
    run.lose(MemberId(0));
    let (member, effects) = run.join(agent(9, 2)).unwrap();
    assert!(effects.contains(&Effect::Granted { member, grant: grant(0, 3), was_standby: false }));
    assert_eq!(
        run.ready(member),
        [Effect::Ready { member, grant: grant(0, 3) }],
        "the lease has not expired"
    );
    assert_eq!(run.after(limits::FENCE - SECOND), []);
    let ask = Effect::EndBackends { member, slot: SLOT, below: Epoch::new(3) };
    assert_eq!(run.after(SECOND), [ask]);
    assert_eq!(run.replied(MemberId(1), 0, Ok(0)), [], "another agent was not asked");
    let ended = Effect::BackendsEnded { slot: SLOT, ended: 2 };
    assert_eq!(run.replied(member, 0, Ok(2)), [ended, Effect::Begin { member, grant: grant(0, 3) }]);
    assert_eq!(run.replied(member, 0, Ok(2)), [], "a repeated reply has no effect");
}

#[test]
fn a_process_that_joins_again_has_no_lease_to_wait_for() {
    let mut run = Run::running(1, OnAgentLoss::Reassign);
    let again = Applicant { ended: Some(grant(0, 1)), ..agent(1, 2) };
    let (member, effects) = run.join(again).unwrap();
    assert_eq!(
        effects[0],
        Effect::Ended { member: MemberId(0), grant: Some(grant(0, 1)), is_forgotten: false }
    );
    assert!(effects.contains(&Effect::Returned { instance: 1 }));
    let ask = Effect::EndBackends { member, slot: SLOT, below: Epoch::new(2) };
    assert_eq!(decisive(run.ready(member)), [ask]);
}

#[test]
fn rows_wait_for_the_statement_timeout_when_backends_are_left() {
    let mut run = Run::running(1, OnAgentLoss::Wait);
    run.lose(MemberId(0));
    let (member, _) = run.join(agent(9, 2)).unwrap();
    run.now += limits::FENCE;
    run.ready(member);
    let wait = Some(Duration::from_secs(30));
    let unknown = Effect::BackendsUnknown { slot: SLOT, problem: "denied".to_owned(), wait };
    assert_eq!(run.replied(member, 0, Err("denied".to_owned())), [unknown]);
    assert_eq!(decisive(run.after(29 * SECOND)), []);
    assert_eq!(decisive(run.after(SECOND)), [Effect::Begin { member, grant: grant(0, 2) }]);
}

#[test]
fn hosts_of_a_slot_without_a_replacement_move_to_running_agents_and_the_slot_is_not_given_again() {
    let mut run = Run::running(3, OnAgentLoss::Reassign);
    run.lose(MemberId(0));
    assert_eq!(run.after(GRACE - SECOND), []);
    let (member, below) = (MemberId(1), Epoch::new(u64::MAX));
    assert_eq!(run.after(SECOND), [Effect::EndBackends { member, slot: SLOT, below }]);
    run.lose(MemberId(1));
    let member = MemberId(2);
    assert_eq!(
        run.after(SECOND),
        [Effect::EndBackends { member, slot: SLOT, below }],
        "the asked agent died"
    );
    let to = vec![SlotId::new(2)];
    assert_eq!(run.replied(member, 0, Ok(0)), [Effect::Move { slot: SLOT, to }]);
    let back = Applicant { slot: Some(SLOT), ..agent(9, 2) };
    assert!(run.join(back).unwrap_err().reason.starts_with("slot-0 was retired"));
}

#[test]
fn a_standby_takes_a_vacant_slot_only_with_the_number_of_workers_of_its_hosts() {
    let mut run = Run::running(1, OnAgentLoss::Wait);
    let (smaller, effects) = run.join(agent(8, 1)).unwrap();
    assert_eq!(effects, [Effect::Returned { instance: 8 }, Effect::Waits { member: smaller }]);
    let (member, _) = run.join(agent(9, 2)).unwrap();
    assert_eq!(run.ready(smaller), [Effect::StandsBy { member: smaller }]);
    run.ready(member);
    let effects = run.lose(MemberId(0));
    assert_eq!(effects.last(), Some(&Effect::Granted { member, grant: grant(0, 2), was_standby: true }));
    run.lose(member);
    let wanted = Applicant { slot: Some(SLOT), ..agent(7, 1) };
    let reason = "slot-0 has hosts for 2 workers in this run, the agent has 1";
    assert_eq!(run.join(wanted).unwrap_err(), Refusal { reason: reason.to_owned(), retry: true });
}

#[test]
fn a_resumed_run_also_needs_the_earlier_numbers_of_workers_before_it_starts() {
    let mut run = Run::waiting(1, OnAgentLoss::Wait);
    run.membership = Membership::new(1, Epoch::new(100), vec![2], policy(OnAgentLoss::Wait));
    let (smaller, _) = run.join(agent(1, 1)).unwrap();
    assert_eq!(run.ready(smaller), [], "it stays a standby");
    let (member, effects) = run.join(agent(2, 2)).unwrap();
    assert!(effects.contains(&Effect::Granted { member, grant: grant(0, 100), was_standby: false }));
}

#[test]
fn before_the_start_any_prepared_standby_takes_a_vacant_slot() {
    let mut run = Run::waiting(1, OnAgentLoss::Reassign);
    let (first, _) = run.join(agent(1, 2)).unwrap();
    let (member, _) = run.join(agent(2, 1)).unwrap();
    run.ready(member);
    let effects = run.lose(first);
    assert_eq!(effects[0], Effect::Ended { member: first, grant: Some(grant(0, 1)), is_forgotten: true });
    assert_eq!(effects.last(), Some(&Effect::Granted { member, grant: grant(0, 2), was_standby: true }));
    assert_eq!(run.membership.start(), [1]);
}

#[test]
fn the_policy_decides_what_follows_from_a_vacant_slot() {
    let check = |policy, expected: &[Effect]| {
        let mut run = Run::running(2, policy);
        run.lose(MemberId(0));
        assert_eq!(run.after(GRACE), expected);
    };
    check(OnAgentLoss::Fail, &[Effect::End(EndReason::SlotLost)]);
    check(OnAgentLoss::Wait, &[Effect::ShowMissing]);
    for policy in [OnAgentLoss::Fail, OnAgentLoss::Wait, OnAgentLoss::Reassign] {
        let mut run = Run::running(1, policy);
        run.lose(MemberId(0));
        assert_eq!(run.after(GRACE), [Effect::End(EndReason::NoAgentLeft)]);
    }
}

#[test]
fn a_replacement_that_does_not_become_ready_loses_its_slot_and_the_grace_period_is_over() {
    let mut run = Run::running(2, OnAgentLoss::Fail);
    run.lose(MemberId(0));
    let (member, _) = run.join(agent(9, 2)).unwrap();
    assert_eq!(run.after(limits::PREPARE_TIMEOUT - SECOND), []);
    let effects = run.after(SECOND);
    assert_eq!(effects[0], Effect::Ended { member, grant: Some(grant(0, 3)), is_forgotten: true });
    assert_eq!(effects.last(), Some(&Effect::End(EndReason::SlotLost)));
}

#[test]
fn suspects_are_given_up_unless_their_processes_return() {
    let mut run = Run::running(1, OnAgentLoss::Wait);
    let rows = |rows: &[u32]| rows.iter().map(|row| RowId::new(*row)).collect::<Vec<_>>();
    run.membership.suspected(rows(&[1, 2]), run.now);
    run.membership.still_suspected(&rows(&[2, 3]));
    assert_eq!(run.after(limits::RETURN_GRACE - SECOND), []);
    assert_eq!(run.after(SECOND), [Effect::Quarantine { rows: rows(&[2]) }]);
    run.membership.suspected(rows(&[4]), run.now);
    run.membership.begin_round();
    assert_eq!(run.after(limits::RETURN_GRACE), [], "they were rows of another round");
}

#[test]
fn a_round_begins_without_an_agent_whose_slot_is_fenced() {
    let mut run = Run::running(2, OnAgentLoss::Wait);
    run.lose(MemberId(0));
    let (member, _) = run.join(agent(9, 2)).unwrap();
    run.ready(member);
    assert_eq!(run.membership.begin_round(), [(MemberId(1), grant(1, 2))]);
    run.after(limits::FENCE);
    assert_eq!(decisive(run.replied(member, 0, Ok(0))), [Effect::Begin { member, grant: grant(0, 3) }]);
}

#[test]
fn a_resumed_run_begins_when_one_agent_has_ended_all_older_backends() {
    let mut run = Run::waiting(2, OnAgentLoss::Reassign);
    for process in [1, 2] {
        let (member, _) = run.join(agent(process, 1)).unwrap();
        run.ready(member);
    }
    let ask = |slot, epoch| {
        let Grant { slot, epoch: below } = grant(slot, epoch);
        Effect::EndBackends { member: MemberId(0), slot, below }
    };
    assert_eq!(run.membership.clear(run.now), [ask(0, 1), ask(1, 2)]);
    assert!(run.membership.clear_until().unwrap() > run.now);
    run.replied(MemberId(0), 0, Ok(0));
    run.replied(MemberId(0), 1, Ok(0));
    assert_eq!(run.membership.clear_until(), Some(run.now));
    run.lose(MemberId(1));
    assert_eq!(run.membership.clear_until(), None);
}

#[test]
fn nobody_joins_a_run_that_is_over_and_disconnecting_is_no_loss() {
    let mut run = Run::running(1, OnAgentLoss::Reassign);
    run.membership.drain();
    assert_eq!(run.join(agent(9, 2)).unwrap_err(), Refusal::over());
    run.membership.dismiss();
    assert_eq!(run.lose(MemberId(0)), []);
    assert!(run.membership.members().is_empty());
}
