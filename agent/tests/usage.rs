//! The command line of the built program.

#![allow(clippy::unwrap_used, reason = "a failed setup fails the test")]

use std::process::{Command, Output};

/// Runs `agent` without any setting of the environment.
fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent")).args(args).env_clear().output().unwrap()
}

#[test]
fn the_help_and_the_version_go_to_stdout() {
    let help = agent(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("--coordinator") && text.contains("Exit codes:"), "{text}");
    let version = agent(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap().trim(),
        concat!("agent ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn an_invalid_option_ends_with_code_2_and_names_it() {
    for (args, named) in [
        (&["--coordinator", "nowhere"][..], "nowhere"),
        (&["--workers", "0"], "--workers"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let output = agent(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(named), "{error}");
        assert_eq!(output.stdout, b"", "{args:?}");
    }
}
