//! One connection of the fake: answers what Muster sends, does what each row's script says, and writes down when.

use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use pgwire::messages::extendedquery::{Bind, BindComplete, CloseComplete, Parse, ParseComplete};
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey, Startup};
use pgwire::messages::{PgWireBackendMessage as Out, PgWireFrontendMessage as In, data};

use super::fake_postgres::{FICKLE, NONSENSE};
use super::interrupt::{Interrupt, locked};
use super::record::{Execution, Record, Session};
use super::script::{Delay, Ending, Script};
use super::wire::{self, Wire};

/// No test waits longer for a query that only a cancel ends.
const FOREVER: Duration = Duration::from_secs(60);

pub(super) struct Backend {
    wire: Wire,
    record: Arc<Mutex<Record>>,
    session: usize,
    interrupt: Arc<Interrupt>,
    /// Set when the whole fake ends; a deaf query hears only this.
    end: Arc<Interrupt>,
    /// The gate is closed while the whole server stalls.
    gate: Arc<RwLock<()>>,
    parameters: Vec<Option<String>>,
    /// In [`Record::executions`]: the query whose answer is not out, and the one after which nothing was heard.
    executing: Option<usize>,
    unheard: Option<usize>,
    /// After an error everything up to Sync is passed over.
    has_failed: bool,
    /// At the next Sync.
    is_leaving: bool,
}

/// Whether the connection goes on.
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
        let (executing, unheard, has_failed, is_leaving) = (None, None, false, false);
        Self {
            wire,
            record,
            session,
            interrupt,
            end,
            gate,
            parameters,
            executing,
            unheard,
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
            self.note_heard();
            let Some(message) = message? else { return Ok(()) };
            if self.answer(message)?.is_break() {
                return Ok(());
            }
        }
    }

    fn note_heard(&mut self) {
        // What was sent along with the query itself says nothing about its end.
        if let Some(index) = self.unheard.take_if(|_| self.wire.heard > self.wire.answered) {
            locked(&self.record).executions[index].heard_again = Some(self.wire.heard);
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
            self.unheard = Some(index);
            locked(&self.record).executions[index].answered = Some(self.wire.answered);
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

    /// Answers with the process id of the cancel key, so that no pooler is assumed. Not recorded, because it does not concern the run.
    fn identify(&mut self) -> io::Result<()> {
        let process = self.session.to_string();
        self.wire.put(&wire::columns(&["pg_backend_pid", "extract"], wire::TEXT, 0))?;
        self.wire.put(&wire::row(&[process.as_bytes(), b"0.5"]))?;
        self.wire.put(&wire::complete("SELECT 1"))?;
        self.wire.put(&wire::complete("RESET"))?;
        self.wire.put(&wire::ready())?;
        self.wire.flush()
    }

    /// Describe follows in the same breath, so the parameters' types are told here.
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

    /// BindComplete goes out at once: a client that takes it for the answer measures nothing.
    fn bind(&mut self, bind: &Bind) -> io::Result<()> {
        let text = |value: &bytes::Bytes| String::from_utf8(value.to_vec()).map_err(io::Error::other);
        let values = bind.parameters.iter().map(|value| value.as_ref().map(text).transpose());
        self.parameters = values.collect::<io::Result<_>>()?;
        let execution = Execution {
            session: self.session,
            parameters: self.parameters.clone(),
            previous_answer: self.wire.answered,
            received: self.wire.heard,
            answered: None,
            heard_again: None,
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

    /// Half of the time passes before the rows, half between them and the end: only a client that reads to the end measures it.
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
            Delay::Deaf => self.end.wait(FOREVER),
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
