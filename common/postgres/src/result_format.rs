//! Chooses binary or text as the format of a statement's result rows. PostgreSQL can send every type as text, and most types in binary. A
//! query whose result has a type without a binary output function (aclitem, isn, seg, PostGIS' box2d) fails unless it requests text. The
//! catalog lists these types. It is read once, when a worker prepares for the first time.

use muster_core::limits;
use muster_core::protocol::{Protocol, ResultFormat, UsedFormat};
use postgres_protocol::Oid;
use postgres_protocol::message::frontend as write;

use crate::frontend::{DATA_ROW, ERROR_RESPONSE, Frontend, Lost};
use crate::server_error::ServerError;

/// bool, bytea, name, int8, int2, int4, text, oid, json, float4, float8, bpchar, varchar, date, time, timestamp, timestamptz, interval,
/// numeric, uuid, jsonb. Every server sends these types in binary, so the catalog is not needed for them.
const BINARY: [Oid; 21] = [
    16, 17, 19, 20, 21, 23, 25, 26, 114, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802,
];

/// Returns the format of each statement's results, based on the types of its columns.
///
/// # Errors
/// When the connection is lost.
pub(crate) fn choose(
    frontend: &mut Frontend,
    results: &[Vec<Oid>],
    protocol: Protocol,
    asked: Option<ResultFormat>,
) -> Result<Vec<UsedFormat>, Lost> {
    let same = |format| vec![UsedFormat { format, without_binary: Vec::new() }; results.len()];
    match asked {
        // The simple protocol supports only text.
        _ if protocol == Protocol::Simple => return Ok(same(ResultFormat::Text)),
        Some(format) => return Ok(same(format)),
        None => {}
    }
    let mut types = results.concat();
    types.sort_unstable();
    types.dedup();
    types.retain(|of| !BINARY.contains(of));
    if types.is_empty() {
        return Ok(same(ResultFormat::Binary));
    }
    let found = without_binary(frontend, &types)?;
    let of = |result: &Vec<Oid>| {
        let mut names: Vec<String> =
            found.iter().filter(|(of, _)| result.contains(of)).map(|(_, name)| name.clone()).collect();
        names.dedup();
        let format = if names.is_empty() { ResultFormat::Binary } else { ResultFormat::Text };
        UsedFormat { format, without_binary: names }
    };
    Ok(results.iter().map(of).collect())
}

/// Returns each type that lacks a binary output function or contains a type that lacks one, with the name of the latter.
fn without_binary(frontend: &mut Frontend, types: &[Oid]) -> Result<Vec<(Oid, String)>, Lost> {
    let (mut found, mut refused) = (Vec::new(), None);
    if write::query(&catalog_query(types), frontend.outgoing()).is_err() {
        return Ok(found);
    }
    let answered = frontend.exchange_within(limits::PREPARE_TIMEOUT, |message| match message.tag {
        DATA_ROW => found.extend(named_type(message.body)),
        ERROR_RESPONSE => refused = Some(ServerError::parse(message.body)),
        _ => {}
    });
    answered?;
    if let Some(error) = refused {
        // A server that is not PostgreSQL but implements its protocol may have a different catalog.
        tracing::debug!("failed to look up the types of the results: {}", error.message);
    }
    Ok(found)
}

/// The query includes the element types of arrays, domains, ranges, multiranges and composite types, because the output functions of the
/// containers call theirs.
fn catalog_query(types: &[Oid]) -> String {
    let types: Vec<String> = types.iter().map(Oid::to_string).collect();
    format!(
        "WITH RECURSIVE part (whole, type) AS (\
           SELECT t, t FROM unnest('{{{}}}'::pg_catalog.oid[]) t \
           UNION \
           SELECT whole, made.of FROM part CROSS JOIN LATERAL (\
             SELECT typelem FROM pg_catalog.pg_type WHERE oid = type \
             UNION ALL SELECT typbasetype FROM pg_catalog.pg_type WHERE oid = type \
             UNION ALL SELECT rngsubtype FROM pg_catalog.pg_range r \
               WHERE rngtypid = type OR (to_jsonb(r)->>'rngmultitypid')::pg_catalog.oid = type \
             UNION ALL SELECT atttypid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute ON attrelid = typrelid \
               WHERE t.oid = type AND typtype = 'c' AND attnum > 0 AND NOT attisdropped\
           ) made (of)) \
         SELECT whole, pg_catalog.format_type(type, NULL) FROM part JOIN pg_catalog.pg_type ON oid = type \
         WHERE typsend::pg_catalog.oid = 0 ORDER BY 2",
        types.join(",")
    )
}

/// Parses a row of two text values.
fn named_type(body: &[u8]) -> Option<(Oid, String)> {
    let (whole, rest) = text(body.get(2..)?)?;
    let (name, _) = text(rest)?;
    Some((whole.parse().ok()?, name.to_owned()))
}

fn text(body: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(value).ok()?, rest))
}

/// Returns the types of the columns in a RowDescription. After the count, each column has a name that ends with a zero byte, and 18 more
/// bytes, in which the type is the second number.
pub(crate) fn column_types(body: &[u8]) -> Vec<Oid> {
    let mut types = Vec::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let Some((column, after)) = rest[end + 1..].split_at_checked(18) else { break };
        if let Some(bytes) = column[6..].first_chunk() {
            types.push(Oid::from_be_bytes(*bytes));
        }
        rest = after;
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_types_are_parsed_and_truncated_messages_do_not_panic() {
        let column = |name: &str, oid: Oid| [name.as_bytes(), &[0; 7], &oid.to_be_bytes(), &[0; 8]].concat();
        let body = [&2u16.to_be_bytes()[..], &column("minute", 1184), &column("", 1034)].concat();
        assert_eq!(column_types(&body), [1184, 1034]);
        for end in 0..body.len() {
            assert!(column_types(&body[..end]).len() < 2);
        }
    }

    #[test]
    fn a_catalog_row_is_parsed_into_oid_and_name() {
        let value =
            |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        let body = [&2u16.to_be_bytes()[..], &value("1034"), &value("aclitem")].concat();
        assert_eq!(named_type(&body), Some((1034, "aclitem".to_owned())));
        for end in 0..body.len() {
            assert_eq!(named_type(&body[..end]), None);
        }
    }
}
