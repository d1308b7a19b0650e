//! Proves that the simulated network needs each mechanism of the accounting: the mechanism is removed from the source code, and at least
//! one run has to fail. The program itself has no switches for this. `just mutants` copies the sources, adds all edits of the
//! [table](table::MUTANTS) to the copy, each behind the environment variable `MUSTER_MUTANT`, builds it once, and runs it for each mutant.

mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use table::MUTANTS;

const SEEDS: u64 = 1_000;

/// The source code without one mechanism.
struct Mutant {
    name: &'static str,
    edits: &'static [Edit],
}

struct Edit {
    /// The path below the workspace.
    file: &'static str,
    /// A text that occurs once in the file. The part in `«»` is replaced; it is an expression or a list of statements.
    find: &'static str,
    replace: &'static str,
}

#[test]
fn every_edit_still_applies() {
    let sources = edited_sources(&workspace()).unwrap_or_else(|problem| panic!("{problem}"));
    let edits: usize = MUTANTS.iter().map(|mutant| mutant.edits.len()).sum();
    let switches: usize = sources.values().map(|text| text.matches("MUSTER_MUTANT").count()).sum();
    assert_eq!(switches, edits);
}

#[test]
#[ignore = "takes minutes: builds the edited sources and runs them once for each mutant"]
fn every_mechanism_is_necessary() {
    let seeds = super::variable("MUSTER_SEEDS").unwrap_or(SEEDS);
    let only = std::env::var("MUSTER_MUTANT").ok();
    let program = build();
    println!("built {}", program.display());
    assert_eq!(run(&program, None, seeds), None, "runs fail without a mutant");
    println!("| removed mechanism | failing runs of {seeds} | most often violated |\n|---|---|---|");
    let mut survivors = Vec::new();
    for Mutant { name, .. } in
        MUTANTS.iter().filter(|mutant| only.as_ref().is_none_or(|only| only == mutant.name))
    {
        match run(&program, Some(name), seeds) {
            Some((failed, most_often)) => println!("| {name} | {failed} | {most_often} |"),
            None => survivors.push(name),
        }
    }
    assert!(
        survivors.is_empty(),
        "the simulated network does not detect that these are missing: {survivors:?}"
    );
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_owned()
}

/// Returns the sources with all edits, by path below the workspace.
fn edited_sources(workspace: &Path) -> Result<BTreeMap<&'static str, String>, String> {
    let mut edits: BTreeMap<&str, Vec<(&str, &Edit)>> = BTreeMap::new();
    for Mutant { name, edits: of_mutant } in MUTANTS {
        of_mutant.iter().for_each(|edit| edits.entry(edit.file).or_default().push((name, edit)));
    }
    let edited = |(file, edits): (&'static str, Vec<(&str, &Edit)>)| {
        let text =
            fs::read_to_string(workspace.join(file)).map_err(|problem| format!("{file}: {problem}"))?;
        let edited = edited(text, &edits).map_err(|problem| format!("{file}: {problem}"))?;
        Ok((file, edited))
    };
    edits.into_iter().map(edited).collect()
}

/// Replaces each edit's expression by one that depends on the environment.
fn edited(mut text: String, edits: &[(&str, &Edit)]) -> Result<String, String> {
    let mut places = Vec::new();
    for (name, edit) in edits {
        places.push((
            place(&text, edit.find).map_err(|problem| format!("{problem}: '{}' ({name})", edit.find))?,
            name,
            edit,
        ));
    }
    places.sort_by_key(|(place, ..)| place.start);
    if let Some([_, (_, name, _)]) =
        places.array_windows().find(|[(one, ..), (other, ..)]| one.end > other.start)
    {
        return Err(format!("two edits overlap ({name})"));
    }
    for (place, name, Edit { replace, .. }) in places.into_iter().rev() {
        let is_removed =
            format!("std::env::var_os(\"MUSTER_MUTANT\").is_some_and(|name| name == \"{name}\")");
        let switch = format!("{{ if {is_removed} {{ {replace} }} else {{ {} }} }}", &text[place.clone()]);
        text.replace_range(place, &switch);
    }
    Ok(text)
}

/// Returns the position of the part of `find` that is in `«»`.
fn place(text: &str, find: &str) -> Result<Range<usize>, &'static str> {
    let parts = find.split_once('«').and_then(|(before, rest)| Some((before, rest.split_once('»')?)));
    let (before, (old, after)) = parts.ok_or("no part is marked")?;
    let whole = [before, old, after].concat();
    let mut found = text.match_indices(&whole);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at + before.len()..at + before.len() + old.len()),
        (None, _) => Err("the text does not occur"),
        (Some(_), Some(_)) => Err("the text occurs more than once"),
    }
}

/// Builds the edited sources and returns the program with the tests of this crate.
fn build() -> PathBuf {
    let workspace = workspace();
    let program = std::env::current_exe().expect("the path of this program");
    let target = program.ancestors().nth(3).expect("this program is in target/debug/deps");
    let copy = target.join("mutants");
    copy_sources(&workspace, &copy).unwrap_or_else(|problem| panic!("copy the sources: {problem}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--locked", "--lib", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics");
    // Dependencies are optimized anyway and are shared. The edited packages get names of their own by this, beside the unedited ones.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    command.current_dir(&copy).env("CARGO_TARGET_DIR", target);
    // What cargo sets for this test would make it build dependencies again.
    std::env::vars_os().map(|(name, _)| name).filter(|name| is_of_package(&name.to_string_lossy())).for_each(
        |name| {
            command.env_remove(name);
        },
    );
    let output = command.output().expect("run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut artifacts = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| {
        let artifact: serde_json::Value = serde_json::from_slice(line).ok()?;
        let is_ours =
            artifact["target"]["name"] == env!("CARGO_CRATE_NAME") && artifact["profile"]["test"] == true;
        artifact["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
    });
    artifacts.next_back().expect("cargo names the program")
}

fn is_of_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| variable.starts_with(prefix))
}

fn copy_sources(workspace: &Path, copy: &Path) -> io::Result<()> {
    let mut listing = Command::new("git");
    listing.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(workspace);
    let edited = edited_sources(workspace).unwrap_or_else(|problem| panic!("{problem}"));
    let files = String::from_utf8(listing.output()?.stdout).expect("names of files are UTF-8");
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    for file in files.split_terminator('\0').filter(|file| workspace.join(file).is_file()) {
        fs::create_dir_all(copy.join(file).parent().expect("a file has a directory"))?;
        match edited.get(file) {
            Some(text) => fs::write(copy.join(file), text)?,
            // `fs::copy` may keep the time, by which cargo knows what has changed.
            None => fs::write(copy.join(file), fs::read(workspace.join(file))?)?,
        }
    }
    Ok(())
}

/// Returns the number of failed runs and the invariant that they violate most often, or `None` if no run fails.
fn run(program: &Path, mutant: Option<&str>, seeds: u64) -> Option<(String, String)> {
    let mut command = Command::new(program);
    command.args(["simulated_network::every_row", "--nocapture"]).env("MUSTER_SEEDS", seeds.to_string());
    command
        .env_remove("MUSTER_SEED")
        .env_remove("MUSTER_MUTANT")
        .envs(mutant.map(|name| ("MUSTER_MUTANT", name)));
    let output = command.output().expect("run the edited program");
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    // That an event does not occur without the mechanism is no violation.
    if text.contains(super::NEVER) {
        return None;
    }
    let summary = text.lines().find_map(|line| line.split_once(super::FAILED));
    let (failed, invariants) =
        summary.unwrap_or_else(|| panic!("{mutant:?} ends without a summary:\n{text}"));
    let most_often = invariants.split(", ").next().expect("a split text has a first part");
    Some((failed.split(' ').next().expect("a split text has a first part").to_owned(), most_often.to_owned()))
}
