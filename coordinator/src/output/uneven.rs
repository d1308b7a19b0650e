//! What to say of a placement that loads workers unevenly: one sentence with the cause and the remedy, for the report and
//! for `coordinator plan`. Judges figures that others computed.

use muster_common::result::Placement;

use super::units::counted;

/// Beyond it the busiest worker holds up the run noticeably.
const SKEW_UNEVEN: f64 = 1.5;

/// The cause and the remedies, each a part that is not broken over lines: an option must stay copyable. Empty for a
/// placement that is even enough. `hosts` is the number of hosts placed.
pub(super) fn uneven(placement: &Placement, hosts: u64) -> Vec<String> {
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
        parts.push("uneven: a few hosts hold most rows".to_owned());
        parts.push("whole hosts allow no better".to_owned());
    } else {
        parts.push("uneven: few hosts hash unevenly".to_owned());
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
    fn the_remedy_is_one_that_helps() {
        let hashed = ["uneven: few hosts hash unevenly", "try --placement balanced"];
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
        check("balanced", 10, 0, 4.0, &["uneven: a few hosts hold most rows", "whole hosts allow no better"]);
    }
}
