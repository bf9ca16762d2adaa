//! The thread that follows steps. Steps come one after the other, so the thread of the last one is kept for the next: making a
//! thread for each costs more than a short step's own work.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for work. Cheap to clone; they end when the last clone is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Crew(Arc<Mutex<Vec<Sender<Job>>>>);

impl Crew {
    /// Does a job on a thread that waits for one, or on a new thread if none does.
    ///
    /// # Errors
    /// No thread can be started; the job was not done.
    pub(super) fn run(&self, job: Job) -> io::Result<()> {
        let mut job = job;
        while let Some(idle) = self.idle().pop() {
            match idle.send(job) {
                Ok(()) => return Ok(()),
                // That thread came to a sudden end; the next one, then.
                Err(unsent) => job = unsent.0,
            }
        }
        let crew = Arc::downgrade(&self.0);
        let builder = thread::Builder::new().name("step".to_owned()).stack_size(256 * 1024);
        builder.spawn(move || {
            job();
            loop {
                // Idle again, unless nobody can ask for it any more.
                let Some(crew) = crew.upgrade() else { return };
                let (to_it, jobs) = channel::<Job>();
                crew.lock().unwrap_or_else(PoisonError::into_inner).push(to_it);
                drop(crew);
                let Ok(next) = jobs.recv() else { return };
                next();
            }
        })?;
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
