//! Joining with a join string.

use crate::security::site::{Site, token};
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, complete, run};

#[tokio::test]
async fn an_agent_with_the_join_string_joins_and_receives_the_database_url() {
    let Some(site) = Site::open("security_honest", 2).await else { return };
    let mut by_variable = site.command(&["--once"]);
    by_variable.env("MUSTER_JOIN", site.join_string());
    let agents = vec![site.honest(), Process::start(by_variable)];
    site.end(agents).await;
}

#[tokio::test]
async fn the_join_string_stays_the_same_until_it_is_rotated() {
    let files = Files::new();
    let first = token(&files, &[]).await;
    assert_eq!(token(&files, &[]).await, first);
    let second = token(&files, &["--rotate"]).await;
    assert_ne!(second, first);
    let pin = |join: &str| join.split('.').nth(1).unwrap().to_owned();
    assert_eq!(pin(&second), pin(&first), "the key does not change");
    assert_eq!(token(&files, &[]).await, second);
}

#[tokio::test]
async fn a_coordinator_with_another_key_receives_nothing() {
    let Some(mut site) = Site::open("security_pin", 1).await else { return };
    let others = Files::new();
    let join = token(&others, &[]).await;
    let ended = complete(site.command(&["--join", &join])).await.expect(2);
    let ended = ended
        .expect_stderr("certificate does not match the join string")
        .expect_stderr("`coordinator token`");
    site.record_output(&ended);
    assert!(!ended.stderr.contains(join.split('.').nth(2).unwrap()));
    assert!(!site.coordinator.stderr().contains("tried to join"), "the agent sent a request");
    let agents = vec![site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn a_rotated_join_string_is_invalid_immediately_and_joined_agents_stay() {
    let Some(mut site) = Site::open("security_rotated", 2).await else { return };
    let mut first = site.honest();
    first.wait_for("joined run").await;
    let old = site.join_string().to_owned();
    site.rotate().await;
    let refused = complete(site.command(&["--join", &old])).await.expect(2);
    site.record_output(&refused.expect_stderr("no longer valid").expect_stderr("`coordinator token`"));
    site.coordinator.wait_for("127.0.0.1 tried to join with a wrong join string and was refused").await;
    let agents = vec![first, site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn an_invalid_join_string_is_a_usage_error_that_does_not_print_it() {
    let unused = address();
    let files = Files::new();
    let path = files.secret("join", "muster1.hunter2");
    for args in [["--join", "muster1.hunter2"], ["--join-file", &path]] {
        let ended = complete(agent(unused, &args)).await.expect(2).expect_stderr("muster1.PIN.SECRET");
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let missing = complete(agent(unused, &["--join-file", "/nowhere/join"])).await.expect(2);
    missing.expect_stderr("--join-file '/nowhere/join'").expect_stderr("No such file");
}

#[tokio::test]
async fn off_loopback_one_of_three_security_modes_is_required() {
    let files = Files::new();
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let mut command = run(anywhere, 1, &["data/query_params.csv"]);
    command.env("XDG_STATE_HOME", files.path().join("state"));
    let ended = complete(command).await.expect(2);
    ended.expect_stderr("coordinator token").expect_stderr("--tls-cert").expect_stderr("--insecure");
    let missing = files.path().join("none");
    let identity = ["data/query_params.csv", "--identity", missing.to_str().unwrap()];
    complete(run(anywhere, 1, &identity))
        .await
        .expect(2)
        .expect_stderr("there is no identity in")
        .expect_stderr("coordinator token");
    let ended = complete(agent("192.0.2.1:50051", &[])).await.expect(2);
    ended.expect_stderr("--join").expect_stderr("--tls-cert").expect_stderr("--insecure");
}

#[tokio::test]
async fn options_that_contradict_an_identity_are_refused() {
    let files = Files::new();
    let identity = files.path().join("identity").to_str().unwrap().to_owned();
    for other in [["--insecure"].as_slice(), &["--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"]] {
        let args = [&["data/query_params.csv", "--identity", &identity], other].concat();
        complete(run(address(), 1, &args)).await.expect(2).expect_stderr("cannot be used with");
    }
}
