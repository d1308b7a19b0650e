//! The cases that are counted. Each case creates its input, and then repeats its work a given number of times.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use muster_coordinator::journal::{CountedSample, Reader, Writer};
use muster_coordinator::workload::{HostIndex, RowReader, Workload, open};
use muster_core::dispatch::{Dispatch, Receipt};
use muster_core::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_core::ledger::{Ledger, Settled};
use muster_core::parameters::PackedParameters;
use muster_core::passes::Passes;
use muster_core::placement::{self, Method};
use muster_core::queue::Queue;
use muster_core::sample::{Answer, Execution, Outcome, Sample};
use muster_proto::v1;
use muster_proto::work::{Assign, FromAgent, FromCoordinator, Order, Results};
use muster_stats::latency::{Samples, Summary};
use muster_stats::random::SplitMix64;
use prost::Message;

use crate::rows;

/// A code path whose instructions are counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Units in one repetition of the work: rows, samples, or pairs of a host and a worker.
    pub(crate) units: u32,
    make: fn(&Path) -> anyhow::Result<Work>,
}

type Work = Box<dyn FnMut() -> anyhow::Result<()>>;

const HOSTS: u32 = 1_000;
const WORKERS: u16 = 50;
const ROWS: u32 = 20_000;
const BATCH: u32 = 256;
const SAMPLES: u32 = 200_000;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "placement, rendezvous",
        units: HOSTS * WORKERS as u32,
        make: |_| place(Method::Rendezvous),
    },
    Case { name: "placement, balanced", units: HOSTS * WORKERS as u32, make: |_| place(Method::Balanced) },
    Case { name: "workload, open", units: ROWS, make: opened },
    Case { name: "workload, read again", units: ROWS, make: read_again },
    Case { name: "ledger", units: ROWS, make: |_| ledger() },
    Case { name: "statistics", units: SAMPLES, make: |_| statistics() },
    Case { name: "assign, encode", units: ROWS, make: |_| encode(assign_on_the_wire) },
    Case { name: "assign, decode", units: ROWS, make: |_| decode_assign() },
    Case { name: "results, encode", units: ROWS, make: |_| encode(results_on_the_wire) },
    Case { name: "results, decode", units: ROWS, make: |_| decode_results() },
    Case { name: "journal, write", units: ROWS, make: journal_write },
    Case { name: "journal, read", units: ROWS, make: journal_read },
];

impl Case {
    pub(crate) fn work(&self, times: u32) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut work = (self.make)(directory.path())?;
        (0..times).try_for_each(|_| work())
    }
}

// -- placement ---------------------------------------------------------------------------------------------------------

fn place(method: Method) -> anyhow::Result<Work> {
    let names: Vec<String> = (0..HOSTS).map(|host| format!("host_{host:06}")).collect();
    let workers: Vec<WorkerId> = (0..WORKERS).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
    Ok(Box::new(move || {
        let hosts = names.iter().map(|name| (name.as_str(), 10));
        drop(black_box(placement::place(method, hosts, &workers)));
        Ok(())
    }))
}

// -- workload ----------------------------------------------------------------------------------------------------------

fn opened(directory: &Path) -> anyhow::Result<Work> {
    let file = directory.join("rows.csv");
    rows::write(&file, ROWS, HOSTS)?;
    Ok(Box::new(move || {
        black_box(open_rows(&file)?);
        Ok(())
    }))
}

/// Reads all rows as ten workers do, each of which has every tenth row.
fn read_again(directory: &Path) -> anyhow::Result<Work> {
    let file = directory.join("rows.csv");
    rows::write(&file, ROWS, HOSTS)?;
    let workload = Arc::new(open_rows(&file)?);
    Ok(Box::new(move || {
        let mut reader = RowReader::new(Arc::clone(&workload));
        for first in 0..10 {
            let mut packed = PackedParameters::new();
            for row in (first..ROWS).step_by(10) {
                reader.read(RowId::new(row), &mut packed)?;
            }
            black_box(packed);
        }
        Ok(())
    }))
}

fn open_rows(file: &Path) -> anyhow::Result<Workload> {
    Ok(open(file, &rows::options(), &mut |_| {})?)
}

// -- ledger ------------------------------------------------------------------------------------------------------------

/// Every row is queued, taken, in flight and settled, in batches.
fn ledger() -> anyhow::Result<Work> {
    const LEDGER_WORKERS: u32 = 10;
    Ok(Box::new(|| {
        let passes = Passes::once(ROWS);
        let queue = |worker| {
            let rows = (worker..ROWS).step_by(LEDGER_WORKERS as usize).map(RowId::new);
            Queue::new(rows.collect(), passes, None)
        };
        let mut dispatch = Dispatch::new(Ledger::new(ROWS), passes, (0..LEDGER_WORKERS).map(queue).collect());
        let epoch = Epoch::new(1);
        dispatch.begin(0..LEDGER_WORKERS as usize, epoch);
        while !dispatch.is_finished() {
            for worker in 0..LEDGER_WORKERS as usize {
                for task in dispatch.take(worker, epoch, BATCH as usize) {
                    let receipt = dispatch.settle(worker, epoch, task.row, Settled::Completed);
                    ensure!(receipt == Receipt::Counted { attempt: 1 }, "a row is counted once");
                }
            }
        }
        Ok(())
    }))
}

// -- statistics --------------------------------------------------------------------------------------------------------

fn statistics() -> anyhow::Result<Work> {
    let mut random = SplitMix64::new(1);
    let times: Vec<u64> = (0..SAMPLES).map(|_| 800_000 + random.below(4_000_000)).collect();
    Ok(Box::new(move || {
        let mut samples = Samples::with_capacity(times.len());
        times.iter().for_each(|time_ns| samples.push(*time_ns));
        black_box(Summary::of(&[samples.into_sorted()]));
        Ok(())
    }))
}

// -- wire --------------------------------------------------------------------------------------------------------------

fn encode(encoded: fn(u32) -> Vec<u8>) -> anyhow::Result<Work> {
    Ok(Box::new(move || {
        for first in (0..ROWS).step_by(BATCH as usize) {
            black_box(encoded(first));
        }
        Ok(())
    }))
}

fn decode_assign() -> anyhow::Result<Work> {
    let messages = messages(assign_on_the_wire);
    Ok(Box::new(move || {
        for message in &messages {
            black_box(FromCoordinator::try_from(v1::CoordinatorWork::decode(&message[..])?)?);
        }
        Ok(())
    }))
}

fn decode_results() -> anyhow::Result<Work> {
    let messages = messages(results_on_the_wire);
    Ok(Box::new(move || {
        for message in &messages {
            black_box(FromAgent::try_from(v1::AgentWork::decode(&message[..])?)?);
        }
        Ok(())
    }))
}

fn messages(encoded: fn(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..ROWS).step_by(BATCH as usize).map(encoded).collect()
}

/// The batch of rows that starts at `first`.
fn rows(first: u32) -> impl Iterator<Item = RowId> {
    (first..ROWS.min(first + BATCH)).map(RowId::new)
}

fn assign_on_the_wire(first: u32) -> Vec<u8> {
    let order = |row| Order { row, due_ns: None, statement: 0, target: 0 };
    let mut parameters = PackedParameters::new();
    let values = ["host_000008", "2017-01-01 08:59:22", "2017-01-01 09:59:22"].map(Some);
    rows(first).for_each(|_| parameters.push_row(values));
    let parameters = parameters.into_bytes().into();
    let assign = Assign { worker: 3, round: 0, rows: rows(first).map(order).collect(), parameters };
    v1::CoordinatorWork::from(FromCoordinator::Assign(assign)).encode_to_vec()
}

fn results_on_the_wire(first: u32) -> Vec<u8> {
    let measurements = rows(first).map(|row| (3, measurement(row))).collect();
    let results = Results { number: 1, ran_under: None, measurements };
    v1::AgentWork::from(FromAgent::Results(results)).encode_to_vec()
}

/// The measurement of a query that takes about a millisecond and returns 60 rows.
fn measurement(row: RowId) -> Sample {
    let random = u64::from(row.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let jitter_ns = (random >> 44) % 500_000;
    Sample {
        start_ns: u64::from(row.get()) * 1_100_000 + jitter_ns,
        service_time_ns: 800_000 + jitter_ns,
        execution: Execution { round: 0, statement: 0, number: row.get() + 1 },
        outcome: Outcome::Completed(Answer { rows: 60, bytes: 1_440, digest: random }),
        ..Sample::zero(row)
    }
}

// -- journal -----------------------------------------------------------------------------------------------------------

fn journal_write(directory: &Path) -> anyhow::Result<Work> {
    let mut writer = Writer::create(&directory.join("journal"))?;
    let samples = samples();
    Ok(Box::new(move || journal(&mut writer, &samples)))
}

fn journal_read(directory: &Path) -> anyhow::Result<Work> {
    let path = directory.join("journal");
    journal(&mut Writer::create(&path)?, &samples())?;
    Ok(Box::new(move || {
        for entry in Reader::open(&path)? {
            black_box(entry?);
        }
        Ok(())
    }))
}

fn journal(writer: &mut Writer, samples: &[CountedSample]) -> anyhow::Result<()> {
    for batch in samples.chunks(BATCH as usize) {
        writer.results(Epoch::new(1), batch);
        writer.commit()?;
    }
    Ok(())
}

fn samples() -> Vec<CountedSample> {
    let counted = |row: RowId| CountedSample {
        host: HostIndex::new(row.get() % HOSTS),
        worker: 3,
        attempt: 1,
        sample: measurement(row),
    };
    (0..ROWS).map(RowId::new).map(counted).collect()
}
