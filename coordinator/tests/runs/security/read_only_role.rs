//! `agent --require-read-only-role` on a real PostgreSQL, and the warning about a superuser.

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Ended, Process, address, agent, run};
use muster_testing::report::Report;

/// Runs one row with one agent on this database; returns the end of the coordinator and the agent's log.
async fn one_run(url: &str, for_agent: &[&str], for_coordinator: &[&str]) -> (Ended, String) {
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    let site = address();
    let coordinator = run(site, 1, &[&args(&sleeps)[..], &["--no-run-dir"], for_coordinator].concat());
    let mut coordinator = Process::start(coordinator);
    let mut command = agent(site, &[&["--once", "--workers", "2"], for_agent].concat());
    command.env("DATABASE_URL", url);
    let mut agent = Process::start(command);
    let ended = coordinator.end().await;
    agent.signal("TERM");
    (ended, agent.end().await.stderr)
}

const REQUIRED: [&str; 1] = ["--require-read-only-role"];

#[tokio::test]
async fn a_role_that_can_write_is_refused_with_the_privilege_and_a_read_only_role_is_accepted() {
    let Some(database) = Database::empty("read_only_role").await else { return };
    database
        .execute(
            "CREATE TABLE t (a int, b int); CREATE SEQUENCE s; CREATE SCHEMA other; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             CREATE ROLE ror_writer; GRANT DELETE ON t TO ror_writer",
        )
        .await;
    let cases = [
        ("CREATEDB", "", "it may create databases"),
        ("CREATEROLE", "", "it may create roles"),
        ("REPLICATION", "", "it may replicate"),
        ("SUPERUSER", "", "it is a superuser"),
        ("", "GRANT INSERT ON t TO ROLE", "it may write to public.t"),
        ("", "GRANT UPDATE (b) ON t TO ROLE", "it may write to public.t"),
        ("", "GRANT TRUNCATE ON t TO ROLE", "it may write to public.t"),
        ("", "GRANT TRIGGER ON t TO ROLE", "it may write to public.t"),
        ("", "GRANT USAGE ON SEQUENCE s TO ROLE", "it may advance public.s"),
        ("", "GRANT CREATE ON SCHEMA other TO ROLE", "it may create tables in schema other"),
        ("", "GRANT CREATE ON DATABASE read_only_role TO ROLE", "it may create schemas"),
        ("", "GRANT pg_write_server_files TO ROLE", "it is a member of pg_write_server_files"),
        ("", "GRANT pg_execute_server_program TO ROLE", "it is a member of pg_execute_server_program"),
        // The role itself may not delete, but it can become a role that may.
        ("NOINHERIT", "GRANT ror_writer TO ROLE", "it may write to public.t"),
        (
            "",
            "CREATE TABLE own (a int); ALTER TABLE own OWNER TO ROLE; REVOKE ALL ON own FROM ROLE",
            "it may write to public.own",
        ),
    ];
    for (number, (attributes, grant, expected)) in cases.into_iter().enumerate() {
        let role = format!("ror_{number}");
        database
            .execute(&format!("CREATE ROLE {role} LOGIN {attributes}; {}", grant.replace("ROLE", &role)))
            .await;
        let url = database.url().replace("//postgres@", &format!("//{role}@"));
        let (ended, agent) = one_run(&url, &REQUIRED, &[]).await;
        let ended = ended.expect(2);
        assert!(ended.stderr.contains(expected), "{role}: {expected}: {}", ended.stderr);
        let others = cases.iter().map(|(_, _, other)| *other).filter(|other| *other != expected);
        for other in others.filter(|_| expected != "it is a superuser") {
            assert!(!ended.stderr.contains(other), "{role}: {other}: {}", ended.stderr);
        }
        ended
            .expect_stderr(&format!("role {role} can write in database read_only_role"))
            .expect_stderr("GRANT SELECT ON ALL TABLES");
        drop(agent);
    }
    database.execute("CREATE ROLE ror_reader LOGIN; GRANT SELECT ON t TO ror_reader; GRANT pg_read_all_stats TO ror_reader").await;
    let reader = database.url().replace("//postgres@", "//ror_reader@");
    let (ended, agent) = one_run(&reader, &REQUIRED, &[]).await;
    assert_eq!(Report::of(&ended.expect(0)).accounting(), (1, 0, 0));
    assert!(!agent.contains("superuser"), "{agent}");
    // The role of the second database is checked in the same way.
    let (ended, _) = one_run(&reader, &REQUIRED, &["--versus", database.url()]).await;
    ended.expect(2).expect_stderr("the second database (--versus)").expect_stderr("it is a superuser");
    database.execute("DROP TABLE own").await;
}

#[tokio::test]
async fn the_warning_about_a_superuser_is_logged_once() {
    let Some(database) = Database::empty("superuser").await else { return };
    let (ended, agent) = one_run(database.url(), &[], &[]).await;
    assert_eq!(Report::of(&ended.expect(0)).accounting(), (1, 0, 0));
    assert_eq!(agent.matches("is a superuser").count(), 1, "{agent}");
}
