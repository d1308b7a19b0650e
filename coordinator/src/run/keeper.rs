//! The keeper: the one task that aggregates settled results, in the order settle → journal → acknowledge. It owns the tally, so aggregation
//! needs no lock.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use muster_core::ids::{Epoch, RowId};
use muster_core::limits;
use muster_core::sample::Outcome;
use muster_core::search::Figures;
use muster_report::result::Latency;
use muster_stats::buckets::Buckets;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::latencies::{DueTimes, Latencies};
use super::record::Fact;
use super::results::Executed;
use super::rows::Rows;
use super::seen_answers::SeenAnswer;
use super::slowest::Slowest;
use super::tally::{Snapshot, Tally};
use crate::clock;
use crate::journal::{CountedSample, Writer};

/// The interval at which the figures for the display are updated.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The maximum service time that the display distinguishes: one hour.
const DISPLAYED_NS_MAX: u64 = 3_600_000_000_000;

/// The results of one message, and the channel for their acknowledgement.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) results: Vec<Executed>,
    /// Results of rows that already had a result.
    pub(crate) duplicates: Vec<SeenAnswer>,
    pub(crate) acks: watch::Sender<u64>,
}

/// A message to the keeper.
enum Note {
    Batch(Batch),
    Facts(Vec<Fact>),
    /// Rows that are about to be sent, by worker. They are sent after this has been written to the journal.
    Sent {
        epoch: Epoch,
        rows: Vec<(usize, Vec<RowId>)>,
        written: oneshot::Sender<()>,
    },
    /// Discards the results so far and resets the aggregates for other rows.
    Restart {
        facts: Vec<Fact>,
        rows: Arc<Rows>,
        tally: Box<Tally>,
        restarted: oneshot::Sender<()>,
    },
    /// Requests the figures of the results so far.
    Figures(oneshot::Sender<Figures>),
    /// Requests the slowest rows so far.
    Slowest(oneshot::Sender<Slowest>),
    /// Requests the aggregates that a page in progress shows.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// The run so far. Percentiles are estimates (3 digits) for the display; the report's are exact.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// The completed and failed rows that may have run before.
    pub(crate) retried: u64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p95: Option<Duration>,
    /// `None` if metrics are disabled.
    pub(crate) service_times: Option<Buckets>,
    /// The reason why the journal cannot be written, after which no results are acknowledged.
    pub(crate) journal_problem: Option<String>,
}

/// The aggregates of a run.
pub(crate) struct Aggregates {
    pub(crate) tally: Tally,
    /// `None` without a run directory, and after the journal could not be written.
    pub(crate) journal: Option<Writer>,
    rows: Arc<Rows>,
    completed: u64,
    failed: u64,
    /// Service times for the display.
    displayed: Histogram<u64>,
    journal_problem: Option<String>,
}

/// A handle that sends messages to the keeper. Waits for the keeper have no deadline: the keeper itself waits only for the disk, without
/// which no row may be sent or acknowledged, and every wait ends when the keeper ends.
#[derive(Debug, Clone)]
pub(crate) struct KeeperHandle {
    notes: mpsc::Sender<Note>,
    has_journal: bool,
}

impl KeeperHandle {
    pub(crate) fn downgrade(&self) -> WeakKeeper {
        WeakKeeper { notes: self.notes.downgrade(), has_journal: self.has_journal }
    }

    /// Reserves space for one batch in the keeper's queue; waits while the keeper is busy. Returns `None` if the run is over. Call this
    /// before the rows are settled, because a session may end during the wait, and settled results must be aggregated.
    pub(crate) async fn reserve(&self) -> Option<Permit<'_>> {
        self.notes.reserve().await.ok().map(Permit)
    }

    /// Returns true when the journal records that these rows are sent, so that after a crash it is known that they may have run. Returns
    /// false if the journal cannot be written.
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

    /// Writes `facts` to the journal, then resets the aggregates for these rows. Returns when this is done.
    pub(crate) async fn restart(&self, facts: Vec<Fact>, rows: Arc<Rows>, tally: Tally) {
        let (restarted, done) = oneshot::channel();
        let note = Note::Restart { facts, rows, tally: Box::new(tally), restarted };
        if self.notes.send(note).await.is_ok() {
            // A panic of the keeper surfaces when it is closed.
            let _ = done.await;
        }
    }

    /// The figures of the results so far. `None` if the keeper has panicked.
    pub(crate) async fn figures(&self) -> Option<Figures> {
        let (sender, figures) = oneshot::channel();
        self.notes.send(Note::Figures(sender)).await.ok()?;
        figures.await.ok()
    }

    /// The aggregates so far. `None` if the keeper has ended.
    pub(crate) async fn snapshot(&self) -> Option<Snapshot> {
        let (sender, snapshot) = oneshot::channel();
        self.notes.send(Note::Snapshot(sender)).await.ok()?;
        snapshot.await.ok()
    }

    /// The slowest rows so far. `None` if the keeper has panicked.
    pub(crate) async fn slowest(&self) -> Option<Slowest> {
        let (sender, slowest) = oneshot::channel();
        self.notes.send(Note::Slowest(sender)).await.ok()?;
        slowest.await.ok()
    }
}

/// A handle that does not keep the keeper from ending.
#[derive(Debug, Clone)]
pub(crate) struct WeakKeeper {
    notes: mpsc::WeakSender<Note>,
    has_journal: bool,
}

impl WeakKeeper {
    /// Returns `None` when the keeper is about to end.
    pub(crate) fn upgrade(&self) -> Option<KeeperHandle> {
        Some(KeeperHandle { notes: self.notes.upgrade()?, has_journal: self.has_journal })
    }
}

/// A reserved space for one batch in the keeper's queue.
pub(crate) struct Permit<'a>(mpsc::Permit<'a, Note>);

impl Permit<'_> {
    pub(crate) fn send(self, batch: Batch) {
        self.0.send(Note::Batch(batch));
    }
}

/// The running keeper. It ends when every handle is dropped.
pub(crate) struct Keeper {
    task: JoinHandle<Aggregates>,
    progress: watch::Receiver<Progress>,
}

impl Keeper {
    /// In a resumed run, `tally` contains the earlier results.
    pub(crate) fn start(rows: Arc<Rows>, tally: Tally, journal: Option<Writer>) -> (Self, KeeperHandle) {
        let (sender, notes) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let displayed = Histogram::<u64>::new_with_bounds(1, DISPLAYED_NS_MAX, 3)
            .expect("the bounds are constants in order");
        let handle = KeeperHandle { notes: sender, has_journal: journal.is_some() };
        let (completed, failed) = tally.counted();
        let aggregates =
            Aggregates { tally, journal, rows, completed, failed, displayed, journal_problem: None };
        let (progress_sender, progress) = watch::channel(aggregates.progress());
        let task = clock::spawn_on_own_thread(keep(aggregates, notes, progress_sender));
        (Self { task, progress }, handle)
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until every handle is dropped and returns the aggregates.
    pub(crate) async fn close(self) -> Aggregates {
        match self.task.await {
            Ok(aggregates) => aggregates,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
    }
}

async fn keep(
    mut aggregates: Aggregates,
    mut notes: mpsc::Receiver<Note>,
    progress: watch::Sender<Progress>,
) -> Aggregates {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut group = Vec::with_capacity(limits::SESSION_QUEUE_MAX);
    loop {
        tokio::select! {
            // Ticks are rare and come first, so that the progress is updated even under a constant load of notes.
            biased;
            _ = ticks.tick() => {
                progress.send_replace(aggregates.progress());
            }
            count = notes.recv_many(&mut group, limits::SESSION_QUEUE_MAX) => {
                if count == 0 {
                    progress.send_replace(aggregates.progress());
                    return aggregates;
                }
                aggregates.take(&mut group, &progress);
                // The controller waits for the last row and for a journal problem, which must not be delayed until the next tick.
                if aggregates.rows.finished().is_some() || aggregates.journal_problem.is_some() {
                    progress.send_replace(aggregates.progress());
                }
            }
        }
    }
}

impl Aggregates {
    /// Handles a group of notes: one write to the journal for all of them, then their replies.
    fn take(&mut self, group: &mut Vec<Note>, progress: &watch::Sender<Progress>) {
        let mut acks = Vec::new();
        let mut replies = Vec::new();
        for note in group.drain(..) {
            match note {
                Note::Batch(Batch { number, results, duplicates, acks: sender }) => {
                    self.settle(results);
                    self.compare(duplicates);
                    acks.push((sender, number));
                }
                Note::Facts(facts) => self.note(&facts),
                Note::Sent { epoch, rows, written } => {
                    if let Some(journal) = &mut self.journal {
                        for (worker, rows) in rows {
                            journal.sent(epoch, position(worker), &rows);
                        }
                    }
                    replies.push(written);
                }
                Note::Restart { facts, rows, tally, restarted } => {
                    self.note(&facts);
                    self.restart(rows, *tally);
                    // Must precede the reply: the controller then reads the progress to find out whether all rows are settled.
                    progress.send_replace(self.progress());
                    replies.push(restarted);
                }
                Note::Slowest(sender) => drop(sender.send(self.tally.slowest.clone())),
                Note::Snapshot(sender) => drop(sender.send(Snapshot::of(&self.tally))),
                Note::Figures(sender) => {
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
        for reply in replies {
            // The session may have ended.
            let _ = reply.send(());
        }
    }

    fn settle(&mut self, mut results: Vec<Executed>) {
        // Drops results of earlier rounds, which no longer count.
        results.retain(|executed| executed.measurement.execution.round == self.rows.round());
        if let Some(journal) = &mut self.journal {
            for of_session in results.chunk_by(|a, b| a.epoch == b.epoch) {
                let samples: Vec<CountedSample> = of_session.iter().map(CountedSample::from).collect();
                journal.results(of_session[0].epoch, &samples);
            }
        }
        for executed in results {
            match executed.measurement.outcome {
                Outcome::Completed(_) => {
                    self.completed += 1;
                    self.displayed.saturating_record(executed.measurement.service_time_ns);
                }
                Outcome::Failed(_) => self.failed += 1,
            }
            self.tally.add(executed);
        }
    }

    /// Records rows whose results differ from the counted ones. The duplicates themselves are neither counted nor journaled.
    fn compare(&mut self, duplicates: Vec<SeenAnswer>) {
        for answer in duplicates {
            if self.tally.seen_answers.compare(answer) {
                self.note(&[Fact::other_answer(answer)]);
            }
        }
    }

    fn restart(&mut self, rows: Arc<Rows>, tally: Tally) {
        (self.completed, self.failed) = tally.counted();
        (self.rows, self.tally) = (rows, tally);
        self.displayed.reset();
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
                tracing::warn!("cannot write an event to the journal: {problem}");
            }
        }
    }

    /// Returns false if the journal cannot be written. In that case nothing may be acknowledged.
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
        let quantile = |q| {
            (!self.displayed.is_empty()).then(|| Duration::from_nanos(self.displayed.value_at_quantile(q)))
        };
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

impl From<&Executed> for CountedSample {
    fn from(executed: &Executed) -> Self {
        Self {
            host: executed.host,
            worker: position(executed.worker),
            attempt: executed.attempt,
            sample: executed.measurement.clone(),
        }
    }
}

fn position(worker: usize) -> u32 {
    u32::try_from(worker).expect("positions of workers are 32 bits wide")
}
