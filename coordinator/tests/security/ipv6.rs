//! The same over IPv6: a coordinator that listens there, and agents that dial an address in brackets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::certificates::{Authority, words};
use crate::site::{Site, directory, token};
use crate::support::files::Files;
use crate::support::processes::{Process, agent, complete, run};

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
async fn on_one_machine_an_agent_joins_over_ipv6_and_nothing_is_asked_for() {
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
async fn a_coordinator_that_listens_everywhere_is_joined_over_both_kinds_of_address() {
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
    site.hears(&ended.says("another certificate than the join string says"));
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
    let site = Site::start("security_ipv6_pki", any, files, 1, &words(&for_coordinator)).await;
    let Some(site) = site else { return };
    let agents = vec![site.agent(&[&["--once"], &*words(&honest)].concat())];
    site.end(agents).await;
}

#[tokio::test]
async fn off_loopback_one_of_three_ways_has_to_be_chosen_over_ipv6_too() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname,n\na,1\n");
    let query = files.write("q.sql", "SELECT :hostname::text, :n::int");
    let mut command = run(SocketAddr::new(EVERYWHERE, 0), 1, &[&rows, "--query", &query]);
    // Where no identity is.
    command.env("XDG_STATE_HOME", files.path());
    complete(command).await.expect(2).says("[::]:0").says("--insecure");
    let documentation = SocketAddr::new("2001:db8::1".parse().unwrap(), 50_051);
    complete(agent(documentation, &[])).await.expect(2).says("--insecure");
}
