//! Properties of every received message, for the fuzzer and for the tests that replay its findings.

use std::fmt::Debug;

use muster_core::parameters::Values;
use prost::Message;

use crate::{control, v1, work};

/// Checks a message. The first byte of `data` selects its type.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, message)) => drop(round_trip::<v1::AgentControl, control::FromAgent>(message)),
        Some((1, message)) => drop(round_trip::<v1::CoordinatorControl, control::FromCoordinator>(message)),
        Some((2, message)) => drop(round_trip::<v1::AgentWork, work::FromAgent>(message)),
        Some((3, message)) => {
            if let Some(work::FromCoordinator::Assign(assign)) = round_trip::<v1::CoordinatorWork, _>(message)
            {
                let _ = Values::new(&assign.parameters).count();
            }
        }
        _ => {}
    }
}

/// Decodes a message. A message that is valid must be equal after another round trip.
fn round_trip<W, D>(message: &[u8]) -> Option<D>
where
    W: Message + Default + From<D>,
    D: TryFrom<W> + Clone + PartialEq + Debug,
{
    let domain = D::try_from(W::decode(message).ok()?).ok()?;
    let bytes = W::from(domain.clone()).encode_to_vec();
    let again = W::decode(&bytes[..]).ok().and_then(|wire| D::try_from(wire).ok());
    assert_eq!(again.as_ref(), Some(&domain));
    Some(domain)
}
