//! Runs blocking code in simulated time. The code has its own thread, which runs only while the simulation waits for it. When the code has
//! to wait, the simulation waits in its place. This keeps runs reproducible.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use muster_agent::driver::{Waiter, Waker};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep_until;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The handle with which blocking code waits in simulated time.
pub(super) struct Coroutine {
    tasks: Sender<Task>,
    resumed: Receiver<()>,
}

/// Runs `body` until it returns. If this future is dropped earlier, `body` is unwound at its next wait and its thread ends.
pub(super) async fn run(body: impl FnOnce(Coroutine) + Send + 'static) {
    let (tasks, requested) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let runtime = Handle::current();
    let thread = thread::spawn(move || {
        // The runtime has the simulated clock.
        let _entered = runtime.enter();
        body(Coroutine { tasks, resumed });
    });
    let mut running = Running { resume: Some(resume), thread: Some(thread) };
    // `recv` blocks the simulation's only thread on purpose: nothing else runs at the same time.
    while let Ok(task) = requested.recv() {
        task.await;
        if let Some(resume) = &running.resume {
            let _ = resume.send(());
        }
    }
    running.join();
}

struct Running {
    resume: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn join(&mut self) {
        self.resume = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !panic.is::<Dropped>()
        {
            panic!("blocking code panicked: {:?}", panic.downcast_ref::<String>());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

/// The panic payload that unwinds blocking code after its future was dropped.
struct Dropped;

impl Coroutine {
    /// Has the simulation run `future`, and blocks this thread until its output is there.
    pub(super) fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, output) = mpsc::channel();
        let task = async move { drop(sender.send(future.await)) };
        let is_resumed = self.tasks.send(Box::pin(task)).is_ok() && self.resumed.recv().is_ok();
        match output.try_recv() {
            Ok(output) if is_resumed => output,
            // Not `panic!`, because this is not a failure and the panic hook must not run.
            _ => std::panic::resume_unwind(Box::new(Dropped)),
        }
    }
}

/// Waits in simulated time.
pub(super) struct CoroutineWaiter {
    pub(super) coroutine: Rc<Coroutine>,
    pub(super) woken: Arc<Notify>,
}

impl Waiter for CoroutineWaiter {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let woken = Arc::clone(&self.woken);
        self.coroutine.block_on(async move {
            let due = async {
                match until {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = woken.notified() => {}
                () = due => {}
            }
        });
    }

    fn waker(&self) -> Waker {
        let woken = Arc::clone(&self.woken);
        Waker::new(move || woken.notify_one())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn waiter(coroutine: Coroutine) -> CoroutineWaiter {
        CoroutineWaiter { coroutine: Rc::new(coroutine), woken: Arc::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_simulated_time_and_a_wake_ends_it() {
        let began = tokio::time::Instant::now();
        let (sender, waker) = tokio::sync::oneshot::channel();
        let other = tokio::spawn(async move {
            let waker: Waker = waker.await.unwrap();
            tokio::time::sleep(HOUR).await;
            drop(waker);
        });
        run(move |coroutine| {
            let mut waiter = waiter(coroutine);
            let _ = sender.send(waiter.waker());
            let due = waiter.now() + 2 * HOUR;
            while waiter.now() < due {
                waiter.wait(Some(due));
            }
        })
        .await;
        assert_eq!(began.elapsed(), 2 * HOUR);
        other.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn blocking_code_is_unwound_when_its_future_is_dropped() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let ran = run(move |coroutine| {
            let _inside = inside;
            waiter(coroutine).wait(None);
            unreachable!("the wait is never woken");
        });
        assert!(tokio::time::timeout(HOUR, ran).await.is_err());
        assert_eq!(Arc::strong_count(&held), 1, "the thread has ended");
    }
}
