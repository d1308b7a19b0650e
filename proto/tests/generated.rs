//! Keeps the committed generated code fresh: `UPDATE_PROTO=1 cargo test -p muster-proto --test generated` rewrites it.

use std::path::Path;

#[test]
fn the_committed_code_is_what_the_proto_files_generate() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["muster/v1/muster.proto"], [crate_dir]).unwrap();
    tonic_prost_build::configure()
        .bytes(".muster.v1.Assign.parameters")
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();

    let generated = std::fs::read_to_string(out.path().join("muster.v1.rs")).unwrap();
    let committed_path = crate_dir.join("src/generated/muster.v1.rs");
    if std::env::var_os("UPDATE_PROTO").is_some() {
        std::fs::create_dir_all(committed_path.parent().unwrap()).unwrap();
        std::fs::write(&committed_path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&committed_path).unwrap_or_default();
    assert!(
        committed == generated,
        "proto/src/generated is stale: run `UPDATE_PROTO=1 cargo test -p muster-proto --test generated`"
    );
}
