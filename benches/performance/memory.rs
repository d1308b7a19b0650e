//! Peak resident memory of a process, as the kernel reports it.

/// Peak memory of this process since the last [`reset_peak`], in MB.
pub(crate) fn peak_mb() -> f64 {
    peak_mb_of("self").expect("this process has memory")
}

/// Peak memory of the process with this id, in MB; `None` once it has exited.
pub(crate) fn peak_mb_of(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Resets the peak of this process: proc(5), `clear_refs`.
pub(crate) fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
