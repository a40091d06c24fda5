//! The clock of all timed figures.

/// Seconds of processor time that this thread has used, which other programs on the machine take nothing of.
pub fn processor_time() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// Seconds of processor time that `work` takes.
pub fn time(work: impl FnOnce()) -> f64 {
    let start = processor_time();
    work();
    processor_time() - start
}
