use proptest::prelude::*;

use super::*;

fn parsed(sql: &str) -> Template {
    Template::parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Checks a statement's rewritten text and columns.
fn check(sql: &str, rewritten: &str, columns: &[&str]) {
    let template = parsed(sql);
    assert_eq!(template.sql(), rewritten, "{sql}");
    assert_eq!(template.columns(), columns, "{sql}");
}

fn check_unchanged(sql: &str) {
    check(sql, sql, &[]);
}

#[track_caller]
fn check_refused(sql: &str, text: &str) {
    assert_eq!(Template::parse(sql).map_err(|error| error.to_string()), Err(text.to_owned()), "{sql}");
}

#[test]
fn each_column_is_numbered_once_in_order() {
    check("SELECT :b, :a, :b::int, :_c9", "SELECT $1, $2, $1::int, $3", &["b", "a", "_c9"]);
    // Names are as in the CSV header: neither case-folded nor truncated.
    check("SELECT :Host,:host,:hosts", "SELECT $1,$2,$3", &["Host", "host", "hosts"]);
}

#[test]
fn quotes_and_comments_contain_no_placeholders() {
    check_unchanged("SELECT ':a', 'it''s :a', '' ':a'");
    check_unchanged(r#"SELECT ":a", "x"":a", U&"\0061:a", U&':a'"#);
    check_unchanged("SELECT $$ :a ' $$, $t$ :a $$ $tt$ :a $t$, $é_1$ :a $é_1$");
    check_unchanged("SELECT 1 -- :a '\n, 2 /* :a /* nested */ ' :a */");
    // Standard literals have no backslash escapes: this one ends at the second quote.
    check(r"SELECT '\', :a", r"SELECT '\', $1", &["a"]);
}

#[test]
fn backslashes_escape_only_in_escape_strings() {
    check_unchanged(r"SELECT E'\':a', e'\\\' :a', E'x'':a'");
    check(r"SELECT E'\\', :a", r"SELECT E'\\', $1", &["a"]);
    // A word that ends in e is not an E prefix.
    check(r"SELECT type'\', :a", r"SELECT type'\', $1", &["a"]);
    // A literal that continues on the next line check_unchanged its backslash escapes; on the same line, the next literal is separate.
    check_unchanged("SELECT E'x' -- y\n  '\\':a'");
    check(r"SELECT E'x' '\', :a", r"SELECT E'x' '\', $1", &["a"]);
}

#[test]
fn casts_assignments_and_slices_are_not_placeholders() {
    check_unchanged("SELECT a::int, f(x := 1), a[1:2], a[:2], a[lo: hi], a[1 : 2]");
    check("SELECT :a::text, a:::b", "SELECT $1::text, a::$2", &["a", "b"]);
}

#[test]
fn a_dollar_within_a_word_does_not_begin_a_dollar_quote() {
    check("SELECT a$$, :b, c$$", "SELECT a$$, $1, c$$", &["b"]);
    check_unchanged("SELECT tab$1, $");
}

#[test]
fn a_parameter_is_separated_from_a_preceding_word() {
    // As in psql, `:hi` is a variable here; but `lo$1` would be one identifier, and the parameter would be lost.
    check("SELECT a[lo:hi]", "SELECT a[lo $1]", &["hi"]);
    check("SELECT a[1:hi]", "SELECT a[1 $1]", &["hi"]);
    check("SELECT 'x':a", "SELECT 'x'$1", &["a"]);
}

#[test]
fn non_ascii_text_is_preserved() {
    check(
        "SELECT 'größe' AS \"→\" -- 🙂\nWHERE x=:größe",
        "SELECT 'größe' AS \"→\" -- 🙂\nWHERE x=$1",
        &["größe"],
    );
}

#[test]
fn a_statement_may_end_with_a_semicolon() {
    check("SELECT :a ;", "SELECT $1 ", &["a"]);
    check("SELECT ';' ; -- done; really\n;/* ; */ ", "SELECT ';' ", &[]);
    check("\u{feff}SELECT :a", "SELECT $1", &["a"]);
}

#[test]
fn text_that_is_not_one_statement_is_refused() {
    let empty = "the statement is empty: write one query, such as SELECT 1";
    for sql in ["", " \t\r\n", ";", "-- SELECT 1", "/* SELECT :a */ ;", "\u{feff}"] {
        check_refused(sql, empty);
    }
    check_refused(
        "SELECT 1;\n-- and\nSELECT 2",
        "line 3: a second statement begins after the ';': a run times one statement, so remove the others",
    );
    check_refused(
        "SELECT 1;:a",
        "line 1: a second statement begins after the ';': a run times one statement, so remove the others",
    );
}

#[test]
fn an_unterminated_token_is_reported_with_the_line_where_it_begins() {
    let check = |sql: &str, line: usize, what: &str, close: &str| {
        check_refused(sql, &format!("line {line}: unterminated {what}: close it with {close}"));
    };
    check("SELECT\n'a\n\n", 2, "string literal", "'");
    check("SELECT 'it''", 1, "string literal", "'");
    check(r"SELECT E'a\'", 1, "string literal", "'");
    check("SELECT E'a\\", 1, "string literal", "'");
    check("SELECT\n\n\"a", 3, "quoted identifier", "\"");
    check("SELECT $$ $a$", 1, "dollar quote", "$$");
    check("SELECT $a$ $$ $A$", 1, "dollar quote", "$a$");
    check("/* /* */ SELECT 1", 1, "comment", "*/");
    check("SELECT 1 /*/", 1, "comment", "*/");
}

#[test]
fn quoted_and_numbered_placeholders_are_refused_with_a_hint() {
    let quoted = |placeholder: &str| {
        format!(
            "line 2: {placeholder} would insert a value into the SQL text, which is not supported: write :name without quotes, its \
             value is sent as a parameter (or put a space after a colon that does not begin a placeholder)"
        )
    };
    check_refused("SELECT\n:'host'", &quoted(":'host'"));
    check_refused("SELECT\n:\"host\"", &quoted(":\"host\""));
    check_refused("SELECT\n:'", &quoted(":''"));
    check_unchanged("SELECT JSON_OBJECT('a': 'b')");
    check_refused(
        "SELECT :a\n  , $12",
        "line 2: $12 does not name a column: write :name with the name of a CSV column",
    );
    check_refused(
        "SELECT '\n\0'",
        "line 2: NUL character, which PostgreSQL does not allow in a statement: remove it",
    );
}

#[test]
fn the_number_of_parameters_is_limited_by_the_protocol() {
    let select = |columns: usize| {
        let list: Vec<String> = (0..columns).map(|column| format!(":c{column}")).collect();
        format!("SELECT {}", list.join("\n,"))
    };
    let most = parsed(&select(65_535));
    assert_eq!(most.columns().len(), 65_535);
    assert!(most.sql().ends_with("\n,$65535"));
    // A repeated column does not count again.
    assert!(Template::parse(&format!("{}, :c0", select(65_535))).is_ok());
    check_refused(
        &select(65_536),
        "line 65536: too many placeholders at ':c65535': PostgreSQL allows at most 65535 parameters",
    );
}

#[test]
fn a_position_in_a_server_error_maps_to_the_text_as_typed() {
    //                     123456789012345678901234567
    let template = parsed("SELECT 'é', :host, 🙂, a[x:y]");
    assert_eq!(template.sql(), "SELECT 'é', $1, 🙂, a[x $2]");
    let position = |character: char| template.sql().chars().position(|other| other == character).unwrap() + 1;
    assert_eq!(template.original_position(1), 1);
    assert_eq!(template.original_position(position('$')), 13);
    assert_eq!(template.original_position(position('1')), 13);
    assert_eq!(template.original_position(position('🙂')), 20);
    assert_eq!(template.original_position(position('x')), 25);
    assert_eq!(template.original_position(position('2')), 26);
    assert_eq!(template.original_position(position(']')), 28);
    // PostgreSQL reports "syntax error at end of input" one position after the end.
    assert_eq!(template.original_position(template.sql().chars().count() + 1), 29);
    assert_eq!(template.original_position(0), 1);
}

/// Text that is dense in characters with a meaning to the scanner.
fn adversarial() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'"),
        Just("''"),
        Just("\""),
        Just("$$"),
        Just("$t$"),
        Just("$"),
        Just("$1"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("\n"),
        Just("\r"),
        Just(" "),
        Just(":"),
        Just("::"),
        Just(":="),
        Just(":a"),
        Just(":é"),
        Just("E'"),
        Just("\\"),
        Just(";"),
        Just("x"),
        Just("é"),
        Just("🙂"),
        Just("[1:2]"),
        Just("\0"),
        Just("\u{feff}"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Pieces that stand between spaces and contain no placeholder, whatever text is inside.
fn placeholder_free() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9:é \n;$-]{0,8}".prop_map(|text| format!("'{text}'")),
        "[a-z0-9:é \n;$'-]{0,8}".prop_map(|text| format!("\"{text}\"")),
        "[a-z0-9:é \n;'-]{0,8}".prop_map(|text| format!("$q${text}$q$")),
        "[a-z0-9:é \n;$']{0,8}".prop_map(|text| format!("/*{text}*/")),
        "[a-z0-9:é ;$'\"]{0,8}".prop_map(|text| format!("--{text}\n")),
        "[a-z0-9:é;$\"]{0,8}".prop_map(|text| format!("E'\\'{text}\\\\'")),
        "[a-z_é][a-z0-9é$]{0,4}",
        "[0-9]{1,3}",
        prop_oneof![Just("::int"), Just(":="), Just("<="), Just("[1:2]"), Just("("), Just("$")]
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics_and_never_loses_a_character(sql in prop_oneof![adversarial(), any::<String>()]) {
        let Ok(template) = Template::parse(&sql) else { return Ok(()) };
        let original: Vec<char> = sql.strip_prefix('\u{feff}').unwrap_or(&sql).chars().collect();
        let mut next = 0;
        let mut rebuilt = String::new();
        let rewritten: Vec<char> = template.sql().chars().collect();
        for replacement in &template.replacements {
            rebuilt.extend(&rewritten[next..replacement.rewritten_start]);
            rebuilt.extend(&original[replacement.original_start..replacement.original_end]);
            prop_assert_eq!(original[replacement.original_start], ':');
            next = replacement.rewritten_end;
        }
        rebuilt.extend(&rewritten[next..]);
        // Only a `;` with white space and comments may be missing at the end.
        let rest = original.iter().collect::<String>();
        let rest = rest.strip_prefix(&rebuilt);
        prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';')), "{:?}", rebuilt);
        prop_assert_eq!(Template::parse(rest.unwrap_or_default()).is_err(), true);
    }

    #[test]
    fn only_placeholders_are_replaced(pieces in prop::collection::vec(
        prop_oneof![placeholder_free().prop_map(Err), "[a-z_][a-z0-9_]{0,2}".prop_map(Ok)], 0..20,
    )) {
        let mut sql = String::from("SELECT");
        let mut expected = sql.clone();
        let mut columns: Vec<String> = Vec::new();
        for piece in pieces {
            match piece {
                Err(text) => {
                    sql.push_str(&format!(" {text}"));
                    expected.push_str(&format!(" {text}"));
                }
                Ok(column) => {
                    sql.push_str(&format!(" :{column}"));
                    let known = columns.iter().position(|other| *other == column);
                    let number = known.unwrap_or_else(|| {
                        columns.push(column);
                        columns.len() - 1
                    });
                    expected.push_str(&format!(" ${}", number + 1));
                }
            }
        }
        let template = parsed(&sql);
        prop_assert_eq!(template.sql(), expected);
        prop_assert_eq!(template.columns(), columns);
    }

    #[test]
    fn every_position_maps_to_the_same_character(sql in adversarial()) {
        let Ok(template) = Template::parse(&sql) else { return Ok(()) };
        let original: Vec<char> = sql.strip_prefix('\u{feff}').unwrap_or(&sql).chars().collect();
        for (at, character) in template.sql().chars().enumerate() {
            let is_replaced = template.replacements.iter().any(|r| (r.rewritten_start..r.rewritten_end).contains(&at));
            let found = original[template.original_position(at + 1) - 1];
            prop_assert_eq!(found, if is_replaced { ':' } else { character });
        }
    }
}

#[test]
fn a_parameter_in_a_server_message_is_replaced_by_its_column() {
    let columns = ["hostname".to_owned(), "n".to_owned()];
    let check = |message: &str, expected: &str| assert_eq!(name_parameters(message, &columns), expected);
    check("could not determine data type of parameter $2", "could not determine data type of parameter :n");
    check("syntax error at or near \"$1\"", "syntax error at or near \":hostname\"");
    check("$1 and $2", ":hostname and :n");
    for unchanged in
        ["", "$", "$0", "$3", "$12", "a$1", "$1a", "$$1", "$99999999999999999999", "10 $", "é$1é"]
    {
        check(unchanged, unchanged);
    }
}
