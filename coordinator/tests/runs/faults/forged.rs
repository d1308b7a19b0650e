//! A client that claims sessions which it never held. Slots and epochs can be guessed, but a token cannot: the client cannot evict an
//! agent, get its rows, or report results for it.

use std::net::SocketAddr;
use std::time::Duration;

use muster_core::ids::{Epoch, RowId, RunId, SessionId, SlotId};
use muster_core::limits;
use muster_core::outbox::Results;
use muster_core::sample::{Execution, Sample};
use muster_core::session_token::{GrantedSession, SessionToken, TOKEN_BYTES};
use muster_core::slots::Grant;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1::muster_client::MusterClient;
use muster_proto::{v1, work};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use muster_testing::hello::hello;
use muster_testing::load::{Load, TWO};
use muster_testing::processes::TIMEOUT;

/// Covers all epochs that a run with two agents has used by now.
const EPOCHS: std::ops::RangeInclusive<u64> = 0..=8;
const FORGED_TIME: Duration = Duration::from_secs(3_600);

struct Intruder {
    client: MusterClient<Channel>,
}

/// A Control stream and the first message received on it.
struct Control {
    _sender: mpsc::Sender<v1::AgentControl>,
    _answers: Streaming<v1::CoordinatorControl>,
    first: FromCoordinator,
}

struct Work {
    _sender: mpsc::Sender<v1::AgentWork>,
    answers: Streaming<v1::CoordinatorWork>,
}

impl Intruder {
    async fn connect(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { client: MusterClient::new(channel) }
    }

    /// Sends Hello and claims to have held a session.
    async fn greet(&mut self, ended: Option<GrantedSession>) -> Control {
        let hello = FromAgent::Hello(Hello { former: ended.iter().cloned().collect(), ended, ..hello() });
        let (sender, receiver) = mpsc::channel(8);
        sender.try_send(hello.into()).unwrap();
        let mut answers = self.client.control(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let first = timeout(TIMEOUT, answers.message()).await.unwrap().unwrap().unwrap();
        Control { _sender: sender, _answers: answers, first: first.try_into().unwrap() }
    }

    /// Opens the Work stream of a session and sends these results. Returns the code of a refusal as `Err`.
    async fn open(&mut self, session: GrantedSession, results: Vec<Results>) -> Result<Work, Code> {
        let (sender, receiver) = mpsc::channel(8);
        sender.try_send(work::FromAgent::Open(session).into()).unwrap();
        for results in results {
            sender.try_send(work::FromAgent::Results(results).into()).unwrap();
        }
        let opened = timeout(TIMEOUT, self.client.work(ReceiverStream::new(receiver))).await.unwrap();
        let answers = opened.map_err(|status| status.code())?.into_inner();
        Ok(Work { _sender: sender, answers })
    }
}

fn session(run: &RunId, slot: u16, epoch: u64) -> GrantedSession {
    let id = SessionId { run: run.clone(), slot: SlotId::new(slot), epoch: Epoch::new(epoch) };
    GrantedSession { id, token: SessionToken::from_bytes(&[0; TOKEN_BYTES]).unwrap() }
}

/// The run's id is not secret: every standby knows it.
async fn run_id(load: &mut Load) -> RunId {
    let journal = load.journal().await;
    RunId::try_new(journal.parent().unwrap().file_name().unwrap().to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_claimed_session_evicts_no_agent_and_gets_no_rows() {
    let Some(mut load) = Load::start("forged_session", TWO, &[]).await else { return };
    let gate = load.close_gate(2).await;
    let run = run_id(&mut load).await;
    let mut intruder = Intruder::connect(load.address).await;
    for epoch in EPOCHS {
        for slot in 0..2 {
            let claimed = intruder.greet(Some(session(&run, slot, epoch))).await;
            let FromCoordinator::Standby(_) = claimed.first else { panic!("{:?}", claimed.first) };
            let opened = intruder.open(session(&run, slot, epoch), Vec::new()).await;
            assert_eq!(opened.err(), Some(Code::FailedPrecondition), "slot {slot}, epoch {epoch}");
        }
    }
    load.coordinator.wait_for("does not have its token").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(!report.events().contains("lost"), "{}", report.events());
    assert_eq!(report.number("/queries/retried"), 0);
}

#[tokio::test]
async fn results_of_a_session_that_another_agent_held_do_not_count() {
    let Some(mut load) = Load::start("forged_results", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    let slot = load.kill(0).await;
    load.coordinator.wait_for(&format!("{slot} lost")).await;
    let run = run_id(&mut load).await;
    let sessions = format!("SELECT DISTINCT session FROM ran WHERE session LIKE '%:{slot}:%'");
    let name = load.database.text(&sessions).await;
    let slot_id: u16 = slot.trim_start_matches("slot-").parse().unwrap();
    let epoch = SessionId::epoch_of_application_name(&name, &run, SlotId::new(slot_id)).unwrap();
    let killed = Grant { slot: SlotId::new(slot_id), epoch };
    let mut intruder = Intruder::connect(load.address).await;
    let joined = intruder.greet(None).await;
    let FromCoordinator::Welcome(welcome) = &joined.first else { panic!("{:?}", joined.first) };
    let own = welcome.session.clone();
    assert_eq!((&own.id.run, own.id.slot.to_string()), (&run, slot.clone()));
    let measurement = |row| Sample {
        service_time_ns: u64::try_from(FORGED_TIME.as_nanos()).unwrap(),
        execution: Execution { round: 1, statement: 0, number: 1 },
        ..Sample::zero(RowId::new(row))
    };
    let rows: Vec<u32> = (0..u32::try_from(TWO.rows).unwrap()).collect();
    let batches = rows.chunks(limits::BATCH_ROWS_MAX);
    let forged = (1..).zip(batches).map(|(number, rows)| Results {
        number,
        ran_under: Some(killed),
        measurements: rows.iter().map(|row| (0, measurement(*row))).collect(),
    });
    let forged: Vec<Results> = forged.collect();
    let last = forged.len() as u64;
    let mut stream = intruder.open(own.clone(), forged).await.expect("the session belongs to the intruder");
    loop {
        let answer = timeout(TIMEOUT, stream.answers.message()).await.unwrap();
        let Ok(Some(answer)) = answer else { break };
        if matches!(answer.try_into(), Ok(work::FromCoordinator::Ack(number)) if number == last) {
            break;
        }
    }
    drop(stream);
    drop(joined);
    drop(intruder);
    load.coordinator.wait_for_times(2, &format!("{slot} lost")).await;
    load.join();
    gate.open().await;
    let report = load.end(0).await;
    let max_ms = report.at("/service_time_ms/max").as_f64().unwrap();
    assert!(report.number("/queries/stale") > 0, "the forged results arrived");
    assert!(max_ms < FORGED_TIME.as_secs_f64() * 1e3, "a forged result was counted: {max_ms} ms");
}
