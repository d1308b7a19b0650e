use proptest::prelude::*;

use super::*;

fn parsed(sql: &str) -> Template {
    Template::parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What becomes of a statement: the text for the server and the columns.
fn check(sql: &str, rewritten: &str, columns: &[&str]) {
    let template = parsed(sql);
    assert_eq!(template.sql(), rewritten, "{sql}");
    assert_eq!(template.columns(), columns, "{sql}");
}

fn keeps(sql: &str) {
    check(sql, sql, &[]);
}

#[track_caller]
fn refuses(sql: &str, text: &str) {
    assert_eq!(Template::parse(sql).map_err(|error| error.to_string()), Err(text.to_owned()), "{sql}");
}

#[test]
fn columns_are_numbered_in_order_and_once_each() {
    check("SELECT :b, :a, :b::int, :_c9", "SELECT $1, $2, $1::int, $3", &["b", "a", "_c9"]);
    // Names are as in the CSV's header: neither folded nor cut.
    check("SELECT :Host,:host,:hosts", "SELECT $1,$2,$3", &["Host", "host", "hosts"]);
}

#[test]
fn quotes_and_comments_hold_no_placeholder() {
    keeps("SELECT ':a', 'it''s :a', '' ':a'");
    keeps(r#"SELECT ":a", "x"":a", U&"\0061:a", U&':a'"#);
    keeps("SELECT $$ :a ' $$, $t$ :a $$ $tt$ :a $t$, $é_1$ :a $é_1$");
    keeps("SELECT 1 -- :a '\n, 2 /* :a /* nested */ ' :a */");
    // Standard literals know no backslash: this one ends at the second quote.
    check(r"SELECT '\', :a", r"SELECT '\', $1", &["a"]);
}

#[test]
fn backslashes_count_in_escape_strings_only() {
    keeps(r"SELECT E'\':a', e'\\\' :a', E'x'':a'");
    check(r"SELECT E'\\', :a", r"SELECT E'\\', $1", &["a"]);
    // A word that ends in e is no prefix.
    check(r"SELECT type'\', :a", r"SELECT type'\', $1", &["a"]);
    // Continued on the next line the literal is still one with backslashes; on the same line the next is one of its own.
    keeps("SELECT E'x' -- y\n  '\\':a'");
    check(r"SELECT E'x' '\', :a", r"SELECT E'x' '\', $1", &["a"]);
}

#[test]
fn casts_assignments_and_slices_are_no_placeholders() {
    keeps("SELECT a::int, f(x := 1), a[1:2], a[:2], a[lo: hi], a[1 : 2]");
    check("SELECT :a::text, a:::b", "SELECT $1::text, a::$2", &["a", "b"]);
}

#[test]
fn a_dollar_within_a_word_begins_no_dollar_quote() {
    check("SELECT a$$, :b, c$$", "SELECT a$$, $1, c$$", &["b"]);
    keeps("SELECT tab$1, $");
}

#[test]
fn a_parameter_never_melts_into_the_word_before_it() {
    // As in psql, `:hi` is a variable here; but `lo$1` would be an identifier and the parameter lost.
    check("SELECT a[lo:hi]", "SELECT a[lo $1]", &["hi"]);
    check("SELECT a[1:hi]", "SELECT a[1 $1]", &["hi"]);
    check("SELECT 'x':a", "SELECT 'x'$1", &["a"]);
}

#[test]
fn text_outside_ascii_survives() {
    check(
        "SELECT 'größe' AS \"→\" -- 🙂\nWHERE x=:größe",
        "SELECT 'größe' AS \"→\" -- 🙂\nWHERE x=$1",
        &["größe"],
    );
}

#[test]
fn one_statement_may_end_in_a_semicolon() {
    check("SELECT :a ;", "SELECT $1 ", &["a"]);
    check("SELECT ';' ; -- done; really\n;/* ; */ ", "SELECT ';' ", &[]);
    check("\u{feff}SELECT :a", "SELECT $1", &["a"]);
}

#[test]
fn what_is_not_one_statement_is_refused() {
    let empty = "the statement is empty: write one query, such as SELECT 1";
    for sql in ["", " \t\r\n", ";", "-- SELECT 1", "/* SELECT :a */ ;", "\u{feff}"] {
        refuses(sql, empty);
    }
    refuses(
        "SELECT 1;\n-- and\nSELECT 2",
        "line 3: a second statement begins after the ';': a run times one statement, so leave the others out",
    );
    refuses(
        "SELECT 1;:a",
        "line 1: a second statement begins after the ';': a run times one statement, so leave the others out",
    );
}

#[test]
fn what_has_no_end_is_named_by_the_line_where_it_begins() {
    let check = |sql: &str, line: usize, what: &str, close: &str| {
        refuses(sql, &format!("line {line}: the {what} that begins here has no end: close it with {close}"));
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
fn placeholders_that_quote_or_count_are_refused_with_the_way_out() {
    let quoted = |placeholder: &str| {
        format!(
            "line 2: {placeholder} would write a value into the SQL, which is never done here: write :name without quotes, its \
             value is sent as a parameter (and put a blank after a colon that begins no placeholder)"
        )
    };
    refuses("SELECT\n:'host'", &quoted(":'host'"));
    refuses("SELECT\n:\"host\"", &quoted(":\"host\""));
    refuses("SELECT\n:'", &quoted(":''"));
    keeps("SELECT JSON_OBJECT('a': 'b')");
    refuses(
        "SELECT :a\n  , $12",
        "line 2: $12 says nothing of where its value comes from: write :name with the name of a CSV column",
    );
    refuses(
        "SELECT '\n\0'",
        "line 2: a NUL character, which PostgreSQL takes nowhere in a statement: remove it",
    );
}

#[test]
fn parameters_are_as_many_as_the_protocol_counts() {
    let select = |columns: usize| {
        let list: Vec<String> = (0..columns).map(|column| format!(":c{column}")).collect();
        format!("SELECT {}", list.join("\n,"))
    };
    let most = parsed(&select(65_535));
    assert_eq!(most.columns().len(), 65_535);
    assert!(most.sql().ends_with("\n,$65535"));
    // One that was there before is not one more.
    assert!(Template::parse(&format!("{}, :c0", select(65_535))).is_ok());
    refuses(
        &select(65_536),
        "line 65536: ':c65535' is one placeholder too many: PostgreSQL takes values of at most 65535 columns",
    );
}

#[test]
fn a_position_of_the_server_leads_back_to_what_was_typed() {
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
    // Behind the end, where PostgreSQL puts "syntax error at end of input".
    assert_eq!(template.original_position(template.sql().chars().count() + 1), 29);
    assert_eq!(template.original_position(0), 1);
}

/// Text with every character that means something to the scanner, close together.
fn nasty() -> impl Strategy<Value = String> {
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

/// Pieces that stand alone between blanks, and hold no placeholder whatever is inside.
fn inert() -> impl Strategy<Value = String> {
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
    fn no_text_panics_and_none_loses_a_character(sql in prop_oneof![nasty(), any::<String>()]) {
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
        // Only a `;` with blanks and comments may be missing at the end.
        let rest = original.iter().collect::<String>();
        let rest = rest.strip_prefix(&rebuilt);
        prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';')), "{:?}", rebuilt);
        prop_assert_eq!(Template::parse(rest.unwrap_or_default()).is_err(), true);
    }

    #[test]
    fn placeholders_alone_are_replaced(pieces in prop::collection::vec(
        prop_oneof![inert().prop_map(Err), "[a-z_][a-z0-9_]{0,2}".prop_map(Ok)], 0..20,
    )) {
        let mut sql = String::from("SELECT");
        let mut expected = sql.clone();
        let mut columns: Vec<String> = Vec::new();
        for piece in pieces {
            match piece {
                Err(inert) => {
                    sql.push_str(&format!(" {inert}"));
                    expected.push_str(&format!(" {inert}"));
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
    fn every_position_leads_to_the_same_character(sql in nasty()) {
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
fn a_parameter_in_a_message_is_called_by_its_column() {
    let columns = ["hostname".to_owned(), "n".to_owned()];
    let check = |message: &str, expected: &str| assert_eq!(name_parameters(message, &columns), expected);
    check("could not determine data type of parameter $2", "could not determine data type of parameter :n");
    check("syntax error at or near \"$1\"", "syntax error at or near \":hostname\"");
    check("$1 and $2", ":hostname and :n");
    for kept in ["", "$", "$0", "$3", "$12", "a$1", "$1a", "$$1", "$99999999999999999999", "10 $", "é$1é"] {
        check(kept, kept);
    }
}
