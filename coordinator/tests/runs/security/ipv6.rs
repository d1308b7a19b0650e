//! Security over IPv6: a coordinator that listens on an IPv6 address, and agents that dial an address in brackets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::security::certificates::{Authority, args};
use crate::security::site::{Site, directory, token};
use muster_testing::files::Files;
use muster_testing::processes::{Process, agent, complete, run};

const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn has_ipv6() -> bool {
    let bound = std::net::TcpListener::bind((LOOPBACK, 0));
    if let Err(problem) = &bound {
        println!("skipped: this machine has no IPv6: {problem}");
    }
    bound.is_ok()
}

#[tokio::test]
async fn on_loopback_an_agent_joins_over_ipv6_without_options() {
    if !has_ipv6() {
        return;
    }
    let any = SocketAddr::new(LOOPBACK, 0);
    let Some(site) = Site::start("security_ipv6", any, Files::new(), 1, &[]).await else { return };
    assert!(site.address.to_string().starts_with("[::1]:"));
    let agents = vec![site.agent(&["--once"])];
    site.end(agents).await;
}

#[tokio::test]
async fn a_coordinator_that_listens_on_all_addresses_accepts_ipv4_and_ipv6() {
    if !has_ipv6() {
        return;
    }
    let files = Files::new();
    let join = files.secret("join", token(&files, &[]).await);
    let identity = directory(&files);
    let any = SocketAddr::new(EVERYWHERE, 0);
    let identified = ["--identity", &identity];
    let Some(mut site) = Site::start("security_ipv6_any", any, files, 2, &identified).await else { return };
    let port = site.address.port();
    let by_6 = SocketAddr::new(LOOPBACK, port);
    let wrong = token(&Files::new(), &[]).await;
    let ended = complete(agent(by_6, &["--join", &wrong])).await.expect(2);
    site.record_output(&ended.expect_stderr("certificate does not match the join string"));
    let by_4 = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let join = |address| Process::start(agent(address, &["--once", "--join-file", &join]));
    let agents = vec![join(by_6), join(by_4)];
    site.end(agents).await;
}

#[tokio::test]
async fn a_certificate_may_be_for_an_ipv6_address() {
    if !has_ipv6() {
        return;
    }
    let files = Files::new();
    let own = Authority::new(&files, "own");
    let for_coordinator = own.certify(&files, "coordinator", 4000, LOOPBACK);
    let honest = own.certify(&files, "agent", 4000, LOOPBACK);
    let any = SocketAddr::new(LOOPBACK, 0);
    let site = Site::start("security_ipv6_pki", any, files, 1, &args(&for_coordinator)).await;
    let Some(site) = site else { return };
    let agents = vec![site.agent(&[&["--once"], &*args(&honest)].concat())];
    site.end(agents).await;
}

#[tokio::test]
async fn off_loopback_one_of_three_security_modes_is_required_over_ipv6_too() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname,n\na,1\n");
    let query = files.write("q.sql", "SELECT :hostname::text, :n::int");
    let mut command = run(SocketAddr::new(EVERYWHERE, 0), 1, &[&rows, "--query", &query]);
    // A directory without an identity.
    command.env("XDG_STATE_HOME", files.path());
    complete(command).await.expect(2).expect_stderr("[::]:0").expect_stderr("--insecure");
    let documentation = SocketAddr::new("2001:db8::1".parse().unwrap(), 50_051);
    complete(agent(documentation, &[])).await.expect(2).expect_stderr("--insecure");
}
