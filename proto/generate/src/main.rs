//! Writes `proto/src/generated` from the .proto files: `cargo run -p muster-proto-generate`. Does not need protoc.
//! Its test fails when the committed code is stale. It is a separate package, so that it builds even when the generated code does not.

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    std::fs::write(committed_path(), generate()?)?;
    Ok(())
}

fn generate() -> anyhow::Result<String> {
    let files = protox::compile(["muster/v1/muster.proto"], [proto_dir()])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .bytes(".muster.v1.Assign.parameters")
        // Boxed because it is by far the largest field and is sent only once per session, while queues hold 32 messages of any kind.
        .boxed(".muster.v1.Welcome.config")
        .boxed(".muster.v1.Standby.config")
        .codec_path("crate::codec::Codec")
        .out_dir(out.path())
        .compile_fds(files)?;
    Ok(std::fs::read_to_string(out.path().join("muster.v1.rs"))?)
}

fn proto_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn committed_path() -> PathBuf {
    proto_dir().join("src/generated/muster.v1.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_what_the_proto_files_generate() {
        let committed = std::fs::read_to_string(committed_path()).unwrap();
        assert!(
            committed == generate().unwrap(),
            "proto/src/generated is stale: run `cargo run -p muster-proto-generate`"
        );
    }
}
