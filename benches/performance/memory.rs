//! What a process has in memory at the most, as the kernel counts it.

/// Of this process, since the last [`forget_peak`], in MB.
pub(crate) fn peak_mb() -> f64 {
    peak_mb_of("self").expect("this process has memory")
}

/// Of a process by its number; `None` once it has ended.
pub(crate) fn peak_mb_of(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// From here on the peak of this process is counted anew: proc(5), `clear_refs`.
pub(crate) fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}
