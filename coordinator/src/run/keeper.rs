//! The keeper: the one task that adds up what was settled. settle → journal → ack, in this order.
//! Owns the tally, so nothing about adding up needs a lock.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use muster_common::buckets::Buckets;
use muster_common::ids::{Epoch, RowId};
use muster_common::limits;
use muster_common::measurement::{Measurement, Outcome};
use muster_common::result::Latency;
use muster_common::search::Figures;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::latencies::{DueTimes, Latencies};
use super::record::Fact;
use super::rows::Rows;
use super::seen_answers::SeenAnswer;
use super::slowest::Slowest;
use super::tally::Tally;
use crate::clock;
use crate::journal::{Sample, Writer};
use crate::workload::HostIndex;

/// How often the figures for the display are renewed.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// An hour: for the display, longer is as long.
const DISPLAYED_NS_MAX: u64 = 3_600_000_000_000;

/// One result that counts, with what the coordinator knows of its row.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Position in the placement's list of workers.
    pub(crate) worker: usize,
    pub(crate) host: HostIndex,
    /// Of the session that ran it.
    pub(crate) epoch: Epoch,
    /// Above 1, it may have run before.
    pub(crate) attempt: u32,
    /// Its start is counted from the start of the run.
    pub(crate) measurement: Measurement,
}

/// One message of results, and where its acknowledgement goes.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) results: Vec<Executed>,
    /// Results of rows that had a result already.
    pub(crate) again: Vec<SeenAnswer>,
    pub(crate) acks: watch::Sender<u64>,
}

/// What the keeper is told.
enum Note {
    Batch(Batch),
    Facts(Vec<Fact>),
    /// Rows that are about to be sent, by worker; they go once this is written down.
    Sent {
        epoch: Epoch,
        rows: Vec<(usize, Vec<RowId>)>,
        written: oneshot::Sender<()>,
    },
    /// What was counted does not count: the books begin anew, for other rows.
    Anew {
        facts: Vec<Fact>,
        rows: Arc<Rows>,
        tally: Box<Tally>,
        is_anew: oneshot::Sender<()>,
    },
    /// What was counted so far says this.
    Look(oneshot::Sender<Figures>),
    /// The slowest rows so far.
    Slowest(oneshot::Sender<Slowest>),
}

/// The run so far. Percentiles are estimates (3 digits) for the display; the report's are exact.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Among both, rows that may have run before.
    pub(crate) retried: u64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p95: Option<Duration>,
    /// When somebody watches.
    pub(crate) service_times: Option<Buckets>,
    /// Why nothing more is written down, and so nothing acknowledged.
    pub(crate) journal_problem: Option<String>,
}

/// What is left when the run is over.
pub(crate) struct Books {
    pub(crate) tally: Tally,
    /// `None` without a run directory, and once it cannot be written.
    pub(crate) journal: Option<Writer>,
    rows: Arc<Rows>,
    completed: u64,
    failed: u64,
    /// For the display.
    seen: Histogram<u64>,
    journal_problem: Option<String>,
}

/// Sends to the keeper. Waits for the keeper have no deadline. The keeper itself waits for nothing but the disk, without which nothing may
/// be sent or acknowledged, and every wait ends with the keeper.
#[derive(Debug, Clone)]
pub(crate) struct KeeperHandle {
    notes: mpsc::Sender<Note>,
    has_journal: bool,
}

impl KeeperHandle {
    /// A place for one batch; waits while the keeper is busy. `None` when the run is over. Taken before the rows are settled: a session
    /// may end while it waits, and what is settled must be added up.
    pub(crate) async fn place(&self) -> Option<Place<'_>> {
        self.notes.reserve().await.ok().map(Place)
    }

    /// Returns once it is written down that these rows go out, so that after a crash it is known that they may have run; false when it
    /// cannot be.
    pub(crate) async fn sent(&self, epoch: Epoch, rows: Vec<(usize, Vec<RowId>)>) -> bool {
        if !self.has_journal {
            return true;
        }
        let (written, is_written) = oneshot::channel();
        let note = Note::Sent { epoch, rows, written };
        self.notes.send(note).await.is_ok() && is_written.await.is_ok()
    }

    pub(crate) async fn note(&self, facts: Vec<Fact>) {
        if self.has_journal && !facts.is_empty() {
            let _ = self.notes.send(Note::Facts(facts)).await;
        }
    }

    /// Begins the books anew for these rows; `facts` are written down before. Returns once that is done.
    pub(crate) async fn begin_anew(&self, facts: Vec<Fact>, rows: Arc<Rows>, tally: Tally) {
        let (is_anew, done) = oneshot::channel();
        let note = Note::Anew { facts, rows, tally: Box::new(tally), is_anew };
        if self.notes.send(note).await.is_ok() {
            // A keeper that broke tells so when it is closed.
            let _ = done.await;
        }
    }

    /// What was counted so far. `None` from a keeper that broke.
    pub(crate) async fn look(&self) -> Option<Figures> {
        let (sender, figures) = oneshot::channel();
        self.notes.send(Note::Look(sender)).await.ok()?;
        figures.await.ok()
    }

    /// The slowest rows so far. `None` from a keeper that broke.
    pub(crate) async fn slowest(&self) -> Option<Slowest> {
        let (sender, slowest) = oneshot::channel();
        self.notes.send(Note::Slowest(sender)).await.ok()?;
        slowest.await.ok()
    }
}

/// Room for one batch in the keeper's queue.
pub(crate) struct Place<'a>(mpsc::Permit<'a, Note>);

impl Place<'_> {
    pub(crate) fn put(self, batch: Batch) {
        self.0.send(Note::Batch(batch));
    }
}

/// The running keeper. It ends when every handle is gone.
pub(crate) struct Keeper {
    task: JoinHandle<Books>,
    progress: watch::Receiver<Progress>,
}

impl Keeper {
    /// `tally` has what was counted before, in a run that goes on.
    pub(crate) fn start(rows: Arc<Rows>, tally: Tally, journal: Option<Writer>) -> (Self, KeeperHandle) {
        let (sender, notes) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let seen = Histogram::<u64>::new_with_bounds(1, DISPLAYED_NS_MAX, 3)
            .expect("the bounds are constants in order");
        let handle = KeeperHandle { notes: sender, has_journal: journal.is_some() };
        let (completed, failed) = tally.counted();
        let books = Books { tally, journal, rows, completed, failed, seen, journal_problem: None };
        let (progress_sender, progress) = watch::channel(books.progress());
        let task = clock::aside(keep(books, notes, progress_sender));
        (Self { task, progress }, handle)
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The books, once every handle is dropped.
    pub(crate) async fn close(self) -> Books {
        match self.task.await {
            Ok(books) => books,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
    }
}

async fn keep(mut books: Books, mut notes: mpsc::Receiver<Note>, progress: watch::Sender<Progress>) -> Books {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut group = Vec::with_capacity(limits::SESSION_QUEUE_MAX);
    loop {
        tokio::select! {
            // The notes are what matters, and between two groups of them the ticks have their turn.
            biased;
            _ = ticks.tick() => {
                progress.send_replace(books.progress());
            }
            count = notes.recv_many(&mut group, limits::SESSION_QUEUE_MAX) => {
                if count == 0 {
                    progress.send_replace(books.progress());
                    return books;
                }
                books.take(&mut group, &progress);
                // The conductor waits for the last row, and for a full disk, not for the next tick.
                if books.rows.finished().is_some() || books.journal_problem.is_some() {
                    progress.send_replace(books.progress());
                }
            }
        }
    }
}

impl Books {
    /// Takes a group of notes: one write to the journal for all of them, and only then their answers.
    fn take(&mut self, group: &mut Vec<Note>, progress: &watch::Sender<Progress>) {
        let mut acks = Vec::new();
        let mut written_down = Vec::new();
        for note in group.drain(..) {
            match note {
                Note::Batch(Batch { number, results, again, acks: sender }) => {
                    self.settle(results);
                    self.compare(again);
                    acks.push((sender, number));
                }
                Note::Facts(facts) => self.note(&facts),
                Note::Sent { epoch, rows, written } => {
                    if let Some(journal) = &mut self.journal {
                        for (worker, rows) in rows {
                            journal.sent(epoch, position(worker), &rows);
                        }
                    }
                    written_down.push(written);
                }
                Note::Anew { facts, rows, tally, is_anew } => {
                    self.note(&facts);
                    self.begin_anew(rows, *tally);
                    // Before anybody is told: the conductor looks at it to know whether the rows are through.
                    progress.send_replace(self.progress());
                    written_down.push(is_anew);
                }
                Note::Slowest(sender) => drop(sender.send(self.tally.slowest.clone())),
                Note::Look(sender) => {
                    let _ = sender.send(self.figures());
                }
            }
        }
        if !self.commit() {
            return;
        }
        for (sender, number) in acks {
            sender.send_replace(number);
        }
        for written in written_down {
            // The session may be over.
            let _ = written.send(());
        }
    }

    fn settle(&mut self, mut results: Vec<Executed>) {
        // Of rows that do not count any more.
        results.retain(|executed| executed.measurement.execution.round == self.rows.round());
        if let Some(journal) = &mut self.journal {
            for of_session in results.chunk_by(|a, b| a.epoch == b.epoch) {
                let samples: Vec<Sample> = of_session.iter().map(Sample::from).collect();
                journal.results(of_session[0].epoch, &samples);
            }
        }
        for executed in results {
            match executed.measurement.outcome {
                Outcome::Completed(_) => {
                    self.completed += 1;
                    self.seen.saturating_record(executed.measurement.service_time_ns);
                }
                Outcome::Failed(_) => self.failed += 1,
            }
            self.tally.add(executed);
        }
    }

    /// Records rows whose results differ. The results themselves are not counted and are in no journal.
    fn compare(&mut self, again: Vec<SeenAnswer>) {
        for answer in again {
            if self.tally.seen_answers.see(answer) {
                self.note(&[Fact::other_answer(answer)]);
            }
        }
    }

    fn begin_anew(&mut self, rows: Arc<Rows>, tally: Tally) {
        (self.completed, self.failed) = tally.counted();
        (self.rows, self.tally) = (rows, tally);
        self.seen.reset();
    }

    fn figures(&self) -> Figures {
        let latencies = Latencies::of(&self.tally.workers);
        let service = latencies.service(|_| true).as_ref().map(Latency::from);
        let due_times = latencies.due_times(0);
        let (completed, failed) = (self.completed, self.failed);
        let (response, lag, generator_delay) = match due_times {
            Some(DueTimes { response, lag, queueing: _, generator_delay }) => {
                (Some(response), Some(lag), Some(generator_delay))
            }
            None => (None, None, None),
        };
        Figures { completed, failed, service, response, lag, generator_delay }
    }

    fn note(&mut self, facts: &[Fact]) {
        let Some(journal) = &mut self.journal else { return };
        for fact in facts {
            if let Err(problem) = journal.fact(fact) {
                tracing::warn!("an event is missing in the journal: {problem}");
            }
        }
    }

    /// False once the journal cannot be written: nothing may be acknowledged then.
    fn commit(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return self.journal_problem.is_none() };
        match journal.commit() {
            Ok(()) => true,
            Err(problem) => {
                self.journal_problem = Some(problem.to_string());
                self.journal = None;
                false
            }
        }
    }

    fn progress(&self) -> Progress {
        let quantile =
            |q| (!self.seen.is_empty()).then(|| Duration::from_nanos(self.seen.value_at_quantile(q)));
        Progress {
            completed: self.completed,
            failed: self.failed,
            retried: self.tally.retried,
            p50: quantile(0.5),
            p95: quantile(0.95),
            service_times: self.tally.service_times.clone(),
            journal_problem: self.journal_problem.clone(),
        }
    }
}

impl From<&Executed> for Sample {
    fn from(executed: &Executed) -> Self {
        let Measurement { row, start_ns, lag, service_time_ns, execution, ref outcome } =
            executed.measurement;
        Self {
            row,
            host: executed.host,
            worker: position(executed.worker),
            attempt: executed.attempt,
            statement: execution.statement,
            execution: execution.number,
            start_ns,
            lag,
            service_time_ns,
            outcome: outcome.clone(),
        }
    }
}

fn position(worker: usize) -> u32 {
    u32::try_from(worker).expect("positions of workers are 32 bits wide")
}
