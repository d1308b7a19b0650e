//! How often a machine may fail to prove that it may join. `now` is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use crate::limits;

/// Failures by machine, of the last [`limits::JOIN_ATTEMPTS_PER`].
#[derive(Debug, Default)]
pub struct Attempts {
    by_machine: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Failures {
    fn are_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= limits::JOIN_ATTEMPTS_PER
    }
}

impl Attempts {
    /// False when the machine has failed too often, whatever it shows now.
    pub fn may_try(&self, peer: IpAddr, now: Instant) -> bool {
        let failures = self.by_machine.get(&machine(peer));
        failures.is_none_or(|failures| failures.are_over(now) || failures.count < limits::JOIN_ATTEMPTS_MAX)
    }

    /// Returns how often the machine has failed, with this time.
    pub fn failed(&mut self, peer: IpAddr, now: Instant) -> u32 {
        if self.by_machine.len() >= limits::JOIN_MACHINES_MAX {
            self.by_machine.retain(|_, failures| !failures.are_over(now));
        }
        if self.by_machine.len() >= limits::JOIN_MACHINES_MAX {
            // More machines than can be: somebody has a network of them, and starts anew now and then.
            self.by_machine.clear();
        }
        let failures = self.by_machine.entry(machine(peer)).or_insert(Failures { since: now, count: 0 });
        if failures.are_over(now) {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        failures.count
    }
}

/// One machine has 2^64 addresses of IPv6.
fn machine(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_machine_that_failed_too_often_waits_and_nobody_else_does() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for count in 1..=limits::JOIN_ATTEMPTS_MAX {
            assert!(attempts.may_try(ip("10.0.0.1"), start));
            assert_eq!(attempts.failed(ip("10.0.0.1"), start), count);
        }
        assert!(!attempts.may_try(ip("10.0.0.1"), start));
        assert!(!attempts.may_try(ip("::ffff:10.0.0.1"), start), "the same machine");
        assert!(attempts.may_try(ip("10.0.0.2"), start));
        let later = start + limits::JOIN_ATTEMPTS_PER;
        assert!(attempts.may_try(ip("10.0.0.1"), later));
        assert_eq!(attempts.failed(ip("10.0.0.1"), later), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_machine() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for host in 0..limits::JOIN_ATTEMPTS_MAX {
            attempts.failed(ip(&format!("2001:db8::{host:x}")), now);
        }
        assert!(!attempts.may_try(ip("2001:db8::ffff:1:2"), now));
        assert!(attempts.may_try(ip("2001:db8:0:1::1"), now));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for address in 0..10 * u32::try_from(limits::JOIN_MACHINES_MAX).unwrap() {
            attempts.failed(IpAddr::from(address.to_be_bytes()), now);
            assert!(attempts.by_machine.len() <= limits::JOIN_MACHINES_MAX);
        }
    }
}
