//! The prost codec with small initial buffers. Each stream has two buffers and each agent four. tonic's default of 8 KiB would take 64 MiB
//! for two thousand agents, although most messages have about a hundred bytes.

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::ProstCodec;

/// Initial size of a buffer, which is enough for heartbeats and small batches. It grows for larger messages.
const BUFFER_SIZE: usize = 512;
/// This many bytes are buffered before they are passed to the connection. tonic's default.
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
