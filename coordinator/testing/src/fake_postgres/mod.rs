//! A fake PostgreSQL: it speaks the protocol on a loopback port, follows each row's script, and records the times. By convention the
//! statement's first parameter is the host and the second the script (see [`script`]), as in [`QUERY`]. Each connection has a
//! thread; all threads end with the fake.

mod backend;
mod interrupt;
mod record;
mod script;
mod wire;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::Startup;

pub use record::{Execution, Record, Session};
pub use script::{FICKLE, NONSENSE, QUERY};

use backend::Backend;
use interrupt::{Interrupt, locked};
use wire::Wire;

pub struct FakePostgres {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    record: Arc<Mutex<Record>>,
    /// Indexed by session, whose number is also its process id.
    interrupts: Mutex<Vec<Arc<Interrupt>>>,
    end: Arc<Interrupt>,
    /// Closed while the server stalls; see [`FakePostgres::stall`].
    gate: Arc<RwLock<()>>,
    is_over: AtomicBool,
}

impl FakePostgres {
    pub fn start() -> Self {
        crate::deadline::begin();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, address, acceptor: Some(acceptor) }
    }

    pub fn url(&self) -> String {
        format!("postgresql://u@{}/db", self.address)
    }

    /// Starts no query for this long, as behind a lock on a table. Blocks the caller for the same time.
    pub fn stall(&self, time: Duration) {
        let _closed = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(time);
    }

    /// The number of queries received so far.
    pub fn executions(&self) -> usize {
        locked(&self.shared.record).executions.len()
    }

    /// Ends the fake after the run and returns its record, which is complete because all its threads have ended.
    pub fn finish(mut self) -> Record {
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
            // The client notices an error on its connection, and the test sees it in the client's output.
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
        // The connection that reads server statistics is closed; only workers are recorded.
        Some(PgWireFrontendMessage::Startup(startup)) if is_statistics(&startup) => Ok(()),
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
    // The acceptor holds the socket, too, so dropping this one would not close the connection.
    let _ = handle.shutdown(Shutdown::Both);
    served
}

fn is_statistics(startup: &Startup) -> bool {
    startup.parameters.get("application_name").is_some_and(|name| name.ends_with(":server_stats"))
}

/// Records the cancel request before it ends the query.
fn cancel(request: &CancelRequest, shared: &Shared) {
    let Ok(session) = usize::try_from(request.pid) else { return };
    let Some(interrupt) = locked(&shared.interrupts).get(session).cloned() else { return };
    if request.secret_key.as_i32() == Some(!request.pid) {
        locked(&shared.record).cancelled.push(session);
        interrupt.set();
    }
}
