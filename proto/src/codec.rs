//! How messages become bytes: as prost has it, with buffers that begin small. Each stream has two, each agent four, and tonic's own
//! begin with 8 KiB: of two thousand agents, that are 64 MiB for messages of a hundred bytes.

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::ProstCodec;

/// A buffer grows with its message; what beats and batches of some rows need is there at once.
const BUFFER_SIZE: usize = 512;
/// As tonic has it: so many bytes are gathered before they go to the connection.
const YIELD_THRESHOLD: usize = 32 * 1024;

#[derive(Debug)]
pub(crate) struct Codec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as tonic::codec::Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_SIZE, YIELD_THRESHOLD)
}
