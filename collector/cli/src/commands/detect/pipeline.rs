//! One thread reads, many judge, one takes the results in the order of the input. Every queue is bounded: a slow block
//! holds the reader back instead of filling memory.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks that are read ahead, for each thread: enough that nobody waits for the disk.
const AHEAD: usize = 3;

/// Work and where its result goes.
type Job<T, R> = (T, SyncSender<R>);

/// What the taker gets, in order.
enum Turn<R> {
    /// The place of a result that may still be worked on.
    Work(Receiver<R>),
    /// There is no more.
    Over(End),
}

/// Where a thread gets its work.
pub struct Jobs<T, R>(Arc<Mutex<Receiver<Job<T, R>>>>);

impl<T, R> Jobs<T, R> {
    /// Works until there is nothing left.
    pub fn work(self, mut judge: impl FnMut(T) -> R) {
        loop {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((work, place)) = next else { return };
            // Nobody waits for the result any more when the run was interrupted.
            let _ = place.send(judge(work));
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything was taken.
    Done,
    /// Ctrl-C: what was not taken yet is lost.
    Interrupted,
}

/// Ends a run from outside.
pub struct Stop<R>(SyncSender<Turn<R>>);

impl<R> Stop<R> {
    /// Interrupts it after the results that were asked for before.
    pub fn interrupt(&self) {
        let _ = self.0.send(Turn::Over(End::Interrupted));
    }
}

/// A run that has begun.
pub struct Run<R> {
    turns: Receiver<Turn<R>>,
    stop: SyncSender<Turn<R>>,
}

/// Begins: `feed` gives work until it is told to stop, `worker` runs once in each thread.
///
/// The threads are not waited for: a reader that waits for a terminal must not hold up the end of the program.
pub fn begin<T: Send + 'static, R: Send + 'static>(
    threads: usize,
    feed: impl FnOnce(&mut dyn FnMut(T) -> ControlFlow<()>) + Send + 'static,
    worker: impl Fn(Jobs<T, R>) + Send + Sync + 'static,
) -> std::io::Result<Run<R>> {
    let (jobs, queue) = sync_channel::<Job<T, R>>(threads);
    let (turns, taken) = sync_channel(threads * AHEAD);
    let (queue, worker) = (Arc::new(Mutex::new(queue)), Arc::new(worker));
    for number in 0..threads {
        let (jobs, worker) = (Jobs(Arc::clone(&queue)), Arc::clone(&worker));
        std::thread::Builder::new().name(format!("judge-{number}")).spawn(move || worker(jobs))?;
    }
    let stop = turns.clone();
    std::thread::Builder::new().name("read".into()).spawn(move || {
        feed(&mut |work| {
            let (place, result) = sync_channel(1);
            let is_wanted = turns.send(Turn::Work(result)).is_ok() && jobs.send((work, place)).is_ok();
            if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let _ = turns.send(Turn::Over(End::Done));
    })?;
    Ok(Run { turns: taken, stop })
}

impl<R> Run<R> {
    /// What interrupts it.
    pub fn stop(&self) -> Stop<R> {
        Stop(self.stop.clone())
    }

    /// Gives every result to `take`, in the order of the work; none where a thread died over it.
    pub fn each<E>(self, mut take: impl FnMut(Option<R>) -> Result<(), E>) -> Result<End, E> {
        while let Ok(turn) = self.turns.recv() {
            match turn {
                Turn::Work(result) => take(result.recv().ok())?,
                Turn::Over(end) => return Ok(end),
            }
        }
        Ok(End::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: u64, threads: usize) -> Run<u64> {
        let feed = move |give: &mut dyn FnMut(u64) -> ControlFlow<()>| {
            let _ = (0..count).try_for_each(give);
        };
        begin(threads, feed, |jobs| jobs.work(|work: u64| if work % 100 == 99 { panic!("on purpose") } else { work * 2 }))
            .unwrap()
    }

    #[test]
    fn results_come_in_the_order_of_the_work() {
        let mut taken = Vec::new();
        let end = run(90, 4).each(|result| {
            taken.extend(result);
            Ok::<(), ()>(())
        });
        assert_eq!(end, Ok(End::Done));
        assert_eq!(taken, (0..90).map(|work| work * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_that_dies_costs_its_own_result_only() {
        let (mut taken, mut lost) = (0, 0);
        let end = run(300, 8).each(|result| {
            *(if result.is_some() { &mut taken } else { &mut lost }) += 1;
            Ok::<(), ()>(())
        });
        assert_eq!(end, Ok(End::Done));
        assert_eq!((taken, lost), (297, 3));
    }

    #[test]
    fn an_interrupt_ends_a_run_whose_input_never_ends() {
        let run = begin(
            2,
            |give: &mut dyn FnMut(u64) -> ControlFlow<()>| while give(1).is_continue() {},
            |jobs| jobs.work(|work| work),
        );
        let run = run.unwrap();
        let (mut stop, mut taken) = (Some(run.stop()), 0_u64);
        let end = run.each(|_: Option<u64>| {
            taken += 1;
            if let Some(stop) = stop.take_if(|_| taken == 10) {
                std::thread::spawn(move || stop.interrupt());
            }
            Ok::<(), ()>(())
        });
        assert_eq!(end, Ok(End::Interrupted));
    }
}
