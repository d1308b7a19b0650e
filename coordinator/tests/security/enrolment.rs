//! Joining by a join string.

use crate::site::{Site, token};
use crate::support::files::Files;
use crate::support::processes::{Process, address, agent, complete, run};

#[tokio::test]
async fn who_has_the_join_string_takes_part_and_is_handed_the_database() {
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
    assert_eq!(pin(&second), pin(&first), "the key stays");
    assert_eq!(token(&files, &[]).await, second);
}

#[tokio::test]
async fn a_coordinator_with_another_key_is_told_nothing() {
    let Some(mut site) = Site::open("security_pin", 1).await else { return };
    let others = Files::new();
    let join = token(&others, &[]).await;
    let ended = complete(site.command(&["--join", &join])).await.expect(2);
    let ended = ended.says("another certificate than the join string says").says("`coordinator token`");
    site.hears(&ended);
    assert!(!ended.stderr.contains(join.split('.').nth(2).unwrap()));
    assert!(!site.coordinator.said().contains("tried to join"), "it sent a request");
    let agents = vec![site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn a_rotated_join_string_is_void_at_once_and_who_has_joined_stays() {
    let Some(mut site) = Site::open("security_rotated", 2).await else { return };
    let mut first = site.honest();
    first.wait_for("joined run").await;
    let old = site.join_string().to_owned();
    site.rotate().await;
    let refused = complete(site.command(&["--join", &old])).await.expect(2);
    site.hears(&refused.says("not valid any more").says("`coordinator token`"));
    site.coordinator.wait_for("127.0.0.1 tried to join with a wrong join string and was refused").await;
    let agents = vec![first, site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn text_that_is_no_join_string_is_a_usage_error_that_does_not_show_it() {
    let nobody = address();
    let files = Files::new();
    let path = files.secret("join", "muster1.hunter2");
    for words in [["--join", "muster1.hunter2"], ["--join-file", &path]] {
        let ended = complete(agent(nobody, &words)).await.expect(2).says("muster1.PIN.SECRET");
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let missing = complete(agent(nobody, &["--join-file", "/nowhere/join"])).await.expect(2);
    missing.says("--join-file '/nowhere/join'").says("No such file");
}

#[tokio::test]
async fn off_loopback_one_of_three_ways_has_to_be_chosen() {
    let files = Files::new();
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let mut command = run(anywhere, 1, &["data/query_params.csv"]);
    command.env("XDG_STATE_HOME", files.path().join("state"));
    let ended = complete(command).await.expect(2);
    ended.says("coordinator token").says("--tls-cert").says("--insecure");
    let missing = files.path().join("none");
    let identity = ["data/query_params.csv", "--identity", missing.to_str().unwrap()];
    complete(run(anywhere, 1, &identity))
        .await
        .expect(2)
        .says("there is no identity in")
        .says("coordinator token");
    let ended = complete(agent("192.0.2.1:50051", &[])).await.expect(2);
    ended.says("--join").says("--tls-cert").says("--insecure");
}

#[tokio::test]
async fn what_would_make_an_identity_void_is_not_taken_beside_it() {
    let files = Files::new();
    let identity = files.path().join("identity").to_str().unwrap().to_owned();
    for other in [["--insecure"].as_slice(), &["--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"]] {
        let words = [&["data/query_params.csv", "--identity", &identity], other].concat();
        complete(run(address(), 1, &words)).await.expect(2).says("cannot be used with");
    }
}
