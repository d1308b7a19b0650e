//! How hosts are placed on workers, for the report and for `coordinator plan`. If the placement loads workers unevenly, it states the
//! cause and the remedy.

use crate::result::Placement;

use super::model::Field;
use crate::units::{count, counted, times};

/// Above this skew the busiest worker noticeably extends the run.
const SKEW_UNEVEN: f64 = 1.5;

/// `hosts` is the number of assigned hosts.
pub(super) fn field(placement: &Placement, hosts: u64) -> Field {
    let parts = [
        placement.method.clone(),
        counted(placement.workers, "worker"),
        format!("{} idle", count(placement.idle)),
        format!("skew {}", times(placement.skew)),
    ];
    Field::new("placement", parts.into_iter().chain(uneven(placement, hosts)))
}

/// Returns the cause and the remedies. Each part stays on one line, so that an option can be copied. Empty if the placement is even
/// enough.
fn uneven(placement: &Placement, hosts: u64) -> Vec<String> {
    if placement.idle == 0 && placement.skew <= SKEW_UNEVEN {
        return Vec::new();
    }
    let balanced = placement.method == "balanced";
    let mut parts = Vec::new();
    if placement.workers > hosts {
        let workers = counted(placement.workers, "worker");
        parts.push(format!("uneven: {workers} for {}", counted(hosts, "host")));
        parts.push("use fewer workers".to_owned());
    } else if balanced {
        parts.push("uneven: a few hosts have most rows".to_owned());
        parts.push("hosts cannot be split".to_owned());
    } else {
        parts.push("uneven: too few hosts for even hashing".to_owned());
    }
    if !balanced {
        parts.push("try --placement balanced".to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, hosts: u64, idle: u64, skew: f64, expected: &[&str]) {
        let placement = Placement { method: method.to_owned(), workers: 10, idle, skew };
        assert_eq!(uneven(&placement, hosts), expected);
    }

    #[test]
    fn an_even_placement_needs_no_hint() {
        check("rendezvous", 10, 0, 1.5, &[]);
        check("balanced", 10, 0, 1.25, &[]);
    }

    #[test]
    fn the_hint_fits_the_cause() {
        let hashed = ["uneven: too few hosts for even hashing", "try --placement balanced"];
        check("rendezvous", 10, 0, 1.51, &hashed);
        check("rendezvous", 10, 3, 1.2, &hashed);
        check(
            "rendezvous",
            9,
            3,
            1.2,
            &["uneven: 10 workers for 9 hosts", "use fewer workers", "try --placement balanced"],
        );
        check("balanced", 9, 1, 1.2, &["uneven: 10 workers for 9 hosts", "use fewer workers"]);
        check("balanced", 10, 0, 4.0, &["uneven: a few hosts have most rows", "hosts cannot be split"]);
    }
}
