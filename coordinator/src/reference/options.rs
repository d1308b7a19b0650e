//! `docs/reference/options.md`: a walk through the definitions of both command lines.

use clap::builder::StyledStr;
use clap::{Arg, Command};

use super::page::{anchor, check, code, escape, table};
use crate::cli;

const INTRODUCTION: &str = "\
Every command has `-h` for a summary and `--help` for the texts of this page. An option on the command line overrides the environment
variable in the same row. [Values](#values) describes the syntax of TIME, RATE and others.";

const ENDS: [&str; 2] = ["Values:", "Exit codes:"];

#[test]
fn the_page_of_options_matches_the_programs() {
    let (coordinator, values) = cli::definition();
    let mut commands = Vec::new();
    for mut program in [coordinator, muster_agent::cli::command()] {
        program.build();
        collect(program, &mut commands);
    }
    let contents = commands.iter().map(|command| {
        let name = name(command);
        let about = command.get_about().map(StyledStr::to_string).unwrap_or_default();
        [format!("[`{name}`](#{})", anchor(name)), escape(&about)]
    });
    let contents = table(["command", "purpose"], &contents.collect::<Vec<_>>());
    let values = values.iter().map(|(name, lines)| [code(name), lines.join(" ")]);
    let values = table(["value", "syntax"], &values.collect::<Vec<_>>());
    let sections: String = commands.iter().map(section).collect();
    check("options.md", "Options", &format!("{INTRODUCTION}\n\n{contents}\n{sections}## Values\n\n{values}"));
}

/// clap wraps long lines, and continues them without the indentation.
#[test]
fn indented_lines_of_the_help_fit_the_width() {
    let mut commands = Vec::new();
    for program in [cli::definition().0, muster_agent::cli::command()] {
        collect(program, &mut commands);
    }
    for command in commands {
        let end = command.get_after_long_help().map(StyledStr::to_string).unwrap_or_default();
        for line in end.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
        }
    }
}

/// Collects a command and all below it, except the command `help`.
fn collect(command: Command, commands: &mut Vec<Command>) {
    let below: Vec<Command> =
        command.get_subcommands().filter(|below| below.get_name() != "help").cloned().collect();
    if below.is_empty() {
        commands.push(command);
    }
    below.into_iter().for_each(|below| collect(below, commands));
}

/// The words that call the command, such as `coordinator run`.
fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

fn section(command: &Command) -> String {
    let name = name(command);
    let about =
        command.get_long_about().or(command.get_about()).map(StyledStr::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut section = format!("## {name}\n\n{}\n\n```text\n{usage}\n```\n\n", escape(&sentence(&about)));
    for (heading, args) in groups(command) {
        if let Some(heading) = heading {
            section += &format!("### {heading}\n\n");
        }
        let rows: Vec<_> = args.iter().map(|arg| row(arg)).collect();
        section += &(table(["option", "default", "environment", "meaning"], &rows) + "\n");
    }
    let end = command.get_after_long_help().map(StyledStr::to_string).unwrap_or_default();
    let paragraphs =
        end.split("\n\n").filter(|one| !one.is_empty() && !ENDS.iter().any(|end| one.starts_with(end)));
    section + &paragraphs.map(paragraph).collect::<String>()
}

/// The arguments by heading: first those without one, then in the order of `--help`.
fn groups(command: &Command) -> Vec<(Option<&str>, Vec<&Arg>)> {
    let mut groups: Vec<(Option<&str>, Vec<&Arg>)> = vec![(None, Vec::new())];
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown.filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
        let heading = arg.get_help_heading();
        match groups.iter_mut().find(|(of, _)| *of == heading) {
            Some((_, args)) => args.push(arg),
            None => groups.push((heading, vec![arg])),
        }
    }
    groups.retain(|(_, args)| !args.is_empty());
    groups
}

fn row(arg: &Arg) -> [String; 4] {
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    let long = arg.get_long().map(|long| format!("--{long} ")).unwrap_or_default();
    let option = code((long + if takes_value { &values } else { "" }).trim_end());
    let option = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default() + &option;
    let help = arg.get_long_help().or(arg.get_help()).map(StyledStr::to_string);
    let help = help.unwrap_or_else(|| panic!("{option} has no help text"));
    let (help, typed) = split_default(&help);
    let values = arg.get_default_values().iter().map(|value| code(&value.to_string_lossy()));
    let default = match typed {
        Some(typed) => escape(typed),
        None if takes_value => values.collect::<Vec<_>>().join(", "),
        None => String::new(),
    };
    let environment = arg.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default();
    let possible = arg.get_possible_values().into_iter().filter(|_| takes_value).map(|value| {
        let help = value.get_help().map(|help| format!(": {}", escape(&help.to_string())));
        format!("<br>{}{}", code(value.get_name()), help.unwrap_or_default())
    });
    [option, default, environment, escape(&sentence(&help)) + &possible.collect::<String>()]
}

/// Splits `[default: …]` off, which is written by hand where the default is not a value.
fn split_default(help: &str) -> (String, Option<&str>) {
    const BEGIN: &str = "[default: ";
    let Some((before, rest)) = help.split_once(BEGIN) else { return (help.to_owned(), None) };
    let (default, after) = rest.split_once(']').expect("the bracket of a default is closed");
    (format!("{}{after}", before.trim_end()), Some(default))
}

/// Joins the paragraphs of a help text, whose first one has no full stop.
fn sentence(help: &str) -> String {
    let paragraphs = help.split("\n\n").map(str::trim).filter(|one| !one.is_empty());
    let sentences = paragraphs.map(|one| if one.ends_with('.') { one.to_owned() } else { format!("{one}.") });
    sentences.collect::<Vec<_>>().join(" ")
}

/// Examples as code, and other paragraphs as text.
fn paragraph(text: &str) -> String {
    match text.strip_prefix("Examples:\n") {
        Some(examples) => {
            let lines = examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
            format!("Examples:\n\n```text\n{}\n```\n\n", lines.collect::<Vec<_>>().join("\n"))
        }
        None => format!("{}\n\n", escape(text)),
    }
}
