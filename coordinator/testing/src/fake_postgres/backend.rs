//! One connection of the fake server: answers Muster's messages, follows each row's script, and records the times.

use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use pgwire::messages::extendedquery::{Bind, BindComplete, CloseComplete, Parse, ParseComplete};
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey, Startup};
use pgwire::messages::{PgWireBackendMessage as Out, PgWireFrontendMessage as In, data};

use super::interrupt::{Interrupt, locked};
use super::record::{Execution, Record, Session};
use super::script::{Delay, Ending, FICKLE, NONSENSE, Script};
use super::wire::{self, Wire};

/// The longest time that a test waits for a query that only a cancel request ends.
const FOREVER: Duration = Duration::from_secs(60);

pub(super) struct Backend {
    wire: Wire,
    record: Arc<Mutex<Record>>,
    session: usize,
    interrupt: Arc<Interrupt>,
    /// Set when the whole fake ends. A query that ignores cancel requests ends only then.
    end: Arc<Interrupt>,
    /// Closed while the whole server stalls.
    gate: Arc<RwLock<()>>,
    parameters: Vec<Option<String>>,
    /// Indices into [`Record::executions`]: the query that is executing, and the answered query after which no byte was received yet.
    executing: Option<usize>,
    awaiting_next: Option<usize>,
    /// After an error, everything up to the next Sync is skipped.
    has_failed: bool,
    /// True if the connection ends at the next Sync.
    is_leaving: bool,
}

/// Whether the connection continues after a message.
type Flow = io::Result<std::ops::ControlFlow<()>>;
const ON: Flow = Ok(std::ops::ControlFlow::Continue(()));
const OFF: Flow = Ok(std::ops::ControlFlow::Break(()));

impl Backend {
    pub(super) fn new(
        wire: Wire,
        startup: &Startup,
        record: Arc<Mutex<Record>>,
        interrupt: Arc<Interrupt>,
        end: Arc<Interrupt>,
        gate: Arc<RwLock<()>>,
    ) -> Self {
        let application_name = startup.parameters.get("application_name").cloned().unwrap_or_default();
        let mut sessions = locked(&record);
        let session = sessions.sessions.len();
        sessions.sessions.push(Session { application_name });
        drop(sessions);
        let parameters = Vec::new();
        let (executing, awaiting_next, has_failed, is_leaving) = (None, None, false, false);
        Self {
            wire,
            record,
            session,
            interrupt,
            end,
            gate,
            parameters,
            executing,
            awaiting_next,
            has_failed,
            is_leaving,
        }
    }

    pub(super) fn session(&self) -> usize {
        self.session
    }

    pub(super) fn serve(&mut self) -> io::Result<()> {
        let pid = i32::try_from(self.session).map_err(io::Error::other)?;
        self.wire.put(&Out::Authentication(Authentication::Ok))?;
        self.wire.put(&Out::BackendKeyData(BackendKeyData::new(pid, SecretKey::I32(!pid))))?;
        self.wire.put(&wire::ready())?;
        self.wire.flush()?;
        loop {
            let message = self.wire.next();
            self.record_next_received();
            let Some(message) = message? else { return Ok(()) };
            if self.answer(message)?.is_break() {
                return Ok(());
            }
        }
    }

    fn record_next_received(&mut self) {
        // Bytes that arrived together with the query do not show when its answer was read.
        if let Some(index) = self.awaiting_next.take_if(|_| self.wire.last_received > self.wire.last_sent) {
            locked(&self.record).executions[index].next_received = Some(self.wire.last_received);
        }
    }

    fn answer(&mut self, message: In) -> Flow {
        match message {
            In::Terminate(_) => return OFF,
            In::Sync(_) => {
                self.sync()?;
                return if self.is_leaving { OFF } else { ON };
            }
            _ if self.has_failed => {}
            In::Query(query) => self.simple(&query.query)?,
            In::Parse(parse) => self.parse(&parse)?,
            In::Describe(_) => self.wire.put(&wire::columns(&["answer"], wire::INT8, 1))?,
            In::Bind(bind) => self.bind(&bind)?,
            In::Execute(_) => return self.execute(),
            In::Close(_) => self.wire.put(&Out::CloseComplete(CloseComplete::new()))?,
            other => return Err(io::Error::other(format!("the fake has no answer to {other:?}"))),
        }
        ON
    }

    fn sync(&mut self) -> io::Result<()> {
        self.has_failed = false;
        self.wire.put(&wire::ready())?;
        self.wire.flush()?;
        if let Some(index) = self.executing.take() {
            self.awaiting_next = Some(index);
            locked(&self.record).executions[index].answered = Some(self.wire.last_sent);
        }
        Ok(())
    }

    fn simple(&mut self, sql: &str) -> io::Result<()> {
        if sql.contains("pg_backend_pid") {
            return self.identify();
        }
        locked(&self.record).statements.push(sql.to_owned());
        if sql.contains("pg_settings") {
            self.wire.put(&wire::columns(&["name", "current_setting"], wire::TEXT, 0))?;
            for [name, value] in
                [["server_version", "16.9 (fake)"], ["server_version_num", "160009"], ["jit", "off"]]
            {
                self.wire.put(&wire::row(&[name.as_bytes(), value.as_bytes()]))?;
            }
            self.wire.put(&wire::complete("SELECT 3"))?;
        } else {
            for _ in sql.split(';') {
                self.wire.put(&wire::complete("SET"))?;
            }
        }
        self.wire.put(&wire::ready())?;
        self.wire.flush()
    }

    /// Returns the process id of the cancel key, so that no pooler is detected. Not recorded, because it is not part of the workload.
    fn identify(&mut self) -> io::Result<()> {
        let process = self.session.to_string();
        self.wire.put(&wire::columns(&["pg_backend_pid", "extract"], wire::TEXT, 0))?;
        self.wire.put(&wire::row(&[process.as_bytes(), b"0.5"]))?;
        self.wire.put(&wire::complete("SELECT 1"))?;
        self.wire.put(&wire::complete("RESET"))?;
        self.wire.put(&wire::ready())?;
        self.wire.flush()
    }

    /// Also describes the parameters, because the client always sends Describe after Parse.
    fn parse(&mut self, parse: &Parse) -> io::Result<()> {
        locked(&self.record).statements.push(parse.query.clone());
        if let Some(at) = parse.query.find(NONSENSE) {
            let position = parse.query[..at].chars().count() + 1;
            return self.fail("42601", &format!("syntax error at or near \"{NONSENSE}\""), Some(position));
        }
        self.is_leaving = self.session == 0 && parse.query.contains(FICKLE);
        let count = (1..).take_while(|n| parse.query.contains(&format!("${n}"))).count();
        self.wire.put(&Out::ParseComplete(ParseComplete::new()))?;
        self.wire.put(&Out::ParameterDescription(data::ParameterDescription::new(vec![wire::TEXT; count])))
    }

    /// Sends BindComplete immediately, so that a client which mistakes it for the answer measures almost nothing.
    fn bind(&mut self, bind: &Bind) -> io::Result<()> {
        let text = |value: &bytes::Bytes| String::from_utf8(value.to_vec()).map_err(io::Error::other);
        let values = bind.parameters.iter().map(|value| value.as_ref().map(text).transpose());
        self.parameters = values.collect::<io::Result<_>>()?;
        let execution = Execution {
            session: self.session,
            parameters: self.parameters.clone(),
            previous_answer: self.wire.last_sent,
            received: self.wire.last_received,
            answered: None,
            next_received: None,
            is_completed: false,
        };
        self.interrupt.clear();
        let mut record = locked(&self.record);
        self.executing = Some(record.executions.len());
        record.executions.push(execution);
        drop(record);
        self.wire.put(&Out::BindComplete(BindComplete::new()))?;
        self.wire.flush()
    }

    fn execute(&mut self) -> Flow {
        drop(self.gate.read());
        let script = self.parameters.get(1).and_then(Option::as_deref).unwrap_or_default();
        let script = match Script::parse(script) {
            Ok(script) => script,
            Err(problem) => {
                self.fail("22023", &problem, None)?;
                return ON;
            }
        };
        match (script.ending, script.delay) {
            (Ending::Rows(count), Delay::For(time)) => self.rows(count, time),
            (ending, delay) => {
                if self.is_cancelled(delay) {
                    self.cancelled()?;
                    return ON;
                }
                self.end(ending)
            }
        }
    }

    /// Half of the time passes before the rows and half after them, so that only a client which reads to the end measures all of it.
    fn rows(&mut self, count: u64, time: Duration) -> Flow {
        if self.interrupt.wait(time / 2) {
            self.cancelled()?;
            return ON;
        }
        for number in 0..count {
            self.wire.put(&wire::row(&[&number.to_be_bytes()]))?;
        }
        self.wire.flush()?;
        if self.interrupt.wait(time - time / 2) {
            self.cancelled()?;
            return ON;
        }
        self.wire.put(&wire::complete(&format!("SELECT {count}")))?;
        if let Some(index) = self.executing {
            locked(&self.record).executions[index].is_completed = true;
        }
        ON
    }

    fn is_cancelled(&self, delay: Delay) -> bool {
        match delay {
            Delay::For(time) => self.interrupt.wait(time),
            Delay::UntilCancelled => self.interrupt.wait(FOREVER),
            Delay::IgnoresCancel => self.end.wait(FOREVER),
        }
    }

    fn end(&mut self, ending: Ending) -> Flow {
        match ending {
            Ending::Error { sqlstate, message } => {
                self.fail(&sqlstate, &message, None)?;
                ON
            }
            Ending::Terminate => {
                let message = "terminating connection due to administrator command";
                self.wire.put(&wire::error("FATAL", "57P01", message, None))?;
                self.wire.flush()?;
                OFF
            }
            Ending::Drop | Ending::Rows(_) => OFF,
        }
    }

    fn cancelled(&mut self) -> io::Result<()> {
        self.fail("57014", "canceling statement due to user request", None)
    }

    fn fail(&mut self, sqlstate: &str, message: &str, position: Option<usize>) -> io::Result<()> {
        self.has_failed = true;
        self.wire.put(&wire::error("ERROR", sqlstate, message, position))
    }
}
