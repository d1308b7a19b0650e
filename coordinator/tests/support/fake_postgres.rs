//! A PostgreSQL that is none: speaks the protocol on a loopback port, does what each row's script says, and remembers when.
//! By convention the statement's first parameter is the host and the second the script (see [`super::script`]):
//! [`QUERY`] has them so. A thread a connection; all of them end with the fake.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::Startup;

use super::backend::Backend;
use super::interrupt::{Interrupt, locked};
use super::record::Record;
use super::wire::Wire;

/// A statement as the fake wants it.
pub(crate) const QUERY: &str = "SELECT answer FROM fake WHERE host = :hostname AND script = :script";

/// A word that no statement may have: it is refused at its place.
pub(crate) const NONSENSE: &str = "nonsense";

/// A remark in a statement: the first connection ends as soon as it has prepared it.
pub(crate) const FICKLE: &str = "/* fickle */";

pub(crate) struct FakePostgres {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    record: Arc<Mutex<Record>>,
    /// By session, which doubles as process id.
    interrupts: Mutex<Vec<Arc<Interrupt>>>,
    end: Arc<Interrupt>,
    /// Queries have to pass this gate; see [`FakePostgres::stall`].
    gate: Arc<RwLock<()>>,
    is_over: AtomicBool,
}

impl FakePostgres {
    pub(crate) fn start() -> Self {
        super::deadline::begin();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, address, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://u@{}/db", self.address)
    }

    /// No query begins for this long, as behind a lock on a table. Blocks for as long.
    #[allow(dead_code, reason = "each test program uses a part of it")]
    pub(crate) fn stall(&self, time: Duration) {
        let _closed = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(time);
    }

    /// Queries that have come so far.
    #[allow(dead_code, reason = "each test program uses a part of it")]
    pub(crate) fn executions(&self) -> usize {
        locked(&self.shared.record).executions.len()
    }

    /// Ends the fake after the run and gives what it saw: whole, because its threads have all ended.
    pub(crate) fn finish(mut self) -> Record {
        self.end();
        locked(&self.shared.record).clone()
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then ends the connections.
        drop(TcpStream::connect(self.address));
        let ended = acceptor.join();
        assert!(ended.is_ok() || thread::panicking(), "a thread of the fake panicked");
    }
}

impl Drop for FakePostgres {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let (mut backends, mut handles) = (Vec::new(), Vec::new());
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        handles.extend(stream.try_clone());
        let shared = Arc::clone(shared);
        backends.push(thread::spawn(move || {
            // What goes wrong on a connection is the client's to notice, and the test's by what the client says.
            let _ = serve(stream, &shared);
        }));
    }
    shared.end.set();
    locked(&shared.interrupts).iter().for_each(|interrupt| interrupt.set());
    for handle in handles {
        let _ = handle.shutdown(Shutdown::Both);
    }
    for backend in backends {
        backend.join().expect("a connection of the fake does not panic");
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let handle = stream.try_clone()?;
    let mut wire = Wire::new(stream)?;
    let served = match wire.first()? {
        Some(PgWireFrontendMessage::CancelRequest(request)) => {
            cancel(&request, shared);
            Ok(())
        }
        // Who looks at counters meets a server that has none; only workers are recorded.
        Some(PgWireFrontendMessage::Startup(startup)) if is_look(&startup) => Ok(()),
        Some(PgWireFrontendMessage::Startup(startup)) => {
            let interrupt = Arc::new(Interrupt::default());
            let mut interrupts = locked(&shared.interrupts);
            interrupts.push(Arc::clone(&interrupt));
            let record = Arc::clone(&shared.record);
            let gate = Arc::clone(&shared.gate);
            let mut backend = Backend::new(wire, &startup, record, interrupt, Arc::clone(&shared.end), gate);
            debug_assert_eq!(backend.session() + 1, interrupts.len());
            drop(interrupts);
            backend.serve()
        }
        _ => Ok(()),
    };
    // The acceptor holds the socket, too: only this ends it.
    let _ = handle.shutdown(Shutdown::Both);
    served
}

fn is_look(startup: &Startup) -> bool {
    startup.parameters.get("application_name").is_some_and(|name| name.ends_with(":look"))
}

/// Noted before the query ends with it.
fn cancel(request: &CancelRequest, shared: &Shared) {
    let Ok(session) = usize::try_from(request.pid) else { return };
    let Some(interrupt) = locked(&shared.interrupts).get(session).cloned() else { return };
    if request.secret_key.as_i32() == Some(!request.pid) {
        locked(&shared.record).cancelled.push(session);
        interrupt.set();
    }
}
