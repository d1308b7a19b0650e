//! Snapshots of comparisons, and properties of every comparison in every format.

use std::path::PathBuf;

use serde_json::Value;

use crate::result::comparison::{Comparison, json_schema};

use super::{check_lines, check_rows};
use crate::fixtures::comparisons as fixtures;
use crate::{Format, render};

#[test]
fn a_slower_run() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::paired(1.2)), @r"
    SLOWER   new takes longer: row by row +20.9 %, median +18.8 %, mean +20.9 %, p95
             +20.8 %

    base                   20261123-7f3a · VALID · 2 agents · 2 workers
    new                    20261124-0a1b · VALID · 3 agents · 3 workers
    rows                   200 paired by row id · effective sample size 200

    SERVICE TIME of 200 queries
                 base      new   change  interval
      median  6.07 ms  7.21 ms  +18.8 %  +8.9 to +29.7 %           slower
      mean    5.95 ms  7.19 ms  +20.9 %  +19.4 to +22.3 %          slower
      p95     9.54 ms  11.5 ms  +20.8 %  +13.0 to +32.6 %          slower
      p99           –        –        –  (needs 459 queries each)

    ROW BY ROW   new ÷ base of each row
                       change  interval
      geometric mean  +20.9 %  +19.0 to +22.9 %  slower
      median          +21.0 %
      signed-rank test  p < 0.0001

      all intervals hold simultaneously with 95 % confidence, each with 98.75 %

    throughput             641 and 580 queries/s · -9.4 %
                           one value per run, so no interval
    failed                 0 and 0 queries

    WARNINGS
      - the settings differ: geqo none and off, work_mem 4MB and 64MB
      - the numbers of agents and workers differ: 2 with 2 and 3 with 3
      - any other change between the two runs would look the same as this
        difference: run both again, alternating, to see whether it persists
    ");
}

#[test]
fn two_samples() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::two_samples()), @r"
    SLOWER   new takes longer: median +24.0 %, mean +28.3 %, p95 +29.6 %

    base                   20261123-7f3a · VALID · 2 agents · 2 workers
    new                    20261124-0a1b · VALID · 3 agents · 3 workers
    rows                   500 and 600, not paired
                           effective sample sizes 500 and 600

    SERVICE TIME of 500 and 600 queries
                 base      new   change  interval
      median  5.90 ms  7.31 ms  +24.0 %  +14.5 to +36.3 %      slower
      mean    5.93 ms  7.60 ms  +28.3 %  +22.8 to +34.0 %      slower
      p95     9.54 ms  12.4 ms  +29.6 %  +25.5 to +35.8 %      slower
      p99     10.2 ms  13.2 ms  +29.2 %  (needs more queries)

    ALL QUERIES   of new against all queries of base
      pairs in which new takes longer  65.9 %
      Mann-Whitney test                p < 0.0001

      all intervals hold simultaneously with 95 % confidence, each with 98.75 %

    throughput             641 and 580 queries/s · -9.4 %
                           one value per run, so no interval
    failed                 0 and 0 queries

    WARNINGS
      - the workloads differ: data/query_params.csv (200 rows) and other.csv (200
        rows), by their sha256
      - the settings differ: geqo none and off, work_mem 4MB and 64MB
      - the numbers of agents and workers differ: 2 with 2 and 3 with 3
      - any other change between the two runs would look the same as this
        difference: run both again, alternating, to see whether it persists
    ");
}

#[test]
fn an_open_loop() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::open_loop()), @r"
    SLOWER   new takes longer: response median +682 %, response mean +676 %,
             response p95 +416 %

    base                   20261123-7f3a · VALID · 2 agents · 2 workers
    new                    20261124-0a1b · VALID · 3 agents · 3 workers
    rows                   900 paired by row id · effective sample size 790

    SERVICE TIME of 900 queries
                 base      new   change  interval
      median  5.85 ms  5.72 ms   -2.2 %  -5.0 to +1.4 %        within noise
      mean    5.92 ms  5.93 ms  +0.29 %  -0.62 to +1.2 %       within noise
      p95     9.62 ms  9.62 ms  -0.03 %  -2.0 to +3.1 %        within noise
      p99     10.4 ms  10.5 ms  +0.99 %  (needs more queries)

    RESPONSE TIME of 900 queries
                 base      new  change  interval
      median  5.85 ms  45.7 ms  +682 %  +641 to +731 %        slower
      mean    5.92 ms  45.9 ms  +676 %  +654 to +700 %        slower
      p95     9.62 ms  49.6 ms  +416 %  +403 to +427 %        slower
      p99     10.4 ms  50.5 ms  +385 %  (needs more queries)

    ROW BY ROW   new ÷ base of each row
                       change  interval
      geometric mean  +0.36 %  -0.50 to +1.2 %  within noise
      median          +0.50 %
      signed-rank test  p = 0.1519

      all intervals hold simultaneously with 95 % confidence, each with 99.44 %

    throughput             641 and 580 queries/s · -9.4 %
                           one value per run, so no interval
    failed                 0 and 0 queries

    WARNINGS
      - only new has queries that began after they were due
      - the settings differ: geqo none and off, work_mem 4MB and 64MB
      - the numbers of agents and workers differ: 2 with 2 and 3 with 3
      - any other change between the two runs would look the same as this
        difference: run both again, alternating, to see whether it persists
    ");
}

#[test]
fn results_without_measurements() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::summaries()), @r"
    NO DIFFERENCE   no significant difference in any figure

    base                   20261123-7f3a · VALID · 2 agents · 2 workers
    new                    20261124-0a1b · VALID · 3 agents · 3 workers
    rows                   200 and 200, compared by their summaries

    SERVICE TIME of 200 queries
                 base      new  change  interval
      median  3.21 ms  3.21 ms     0 %  -9.0 to +9.9 %            within noise
      mean    5.20 ms  5.20 ms     0 %  -9.8 to +10.9 %           within noise
      p95     8.20 ms  8.20 ms     0 %  -15.4 to +18.2 %          within noise
      p99           –        –       –  (needs 459 queries each)

      all intervals hold simultaneously with 95 % confidence, each with 98.33 %

    throughput             641 and 580 queries/s · -9.4 %
                           one value per run, so no interval
    failed                 0 and 0 queries

    WARNINGS
      - the settings differ: geqo none and off, work_mem 4MB and 64MB
      - the numbers of agents and workers differ: 2 with 2 and 3 with 3
      - only results were compared, not measurements: queries are assumed to be
        independent, which overstates the significance of a difference; pass runs or
        run directories to compare measurements
    ");
}

#[test]
fn in_markdown() {
    insta::assert_snapshot!(render(Format::Markdown, &fixtures::paired(1.2)), @r"
    ## Muster: SLOWER · new takes longer: row by row +20.9 %, median +18.8 %, mean +20.9 %, p95 +20.8 %

    ### Runs

    |  |  |
    |---|---|
    | Base | `20261123-7f3a`, VALID, 2 agents, 2 workers, `coordinator run data/query_params.csv --agents 2` |
    | New | `20261124-0a1b`, VALID, 3 agents, 3 workers, `coordinator run data/query_params.csv --agents 2` |
    | Rows | 200 paired by row id, effective sample size 200 |

    ### Service time of 200 queries

    |  | base | new | change | interval |  |
    |---|--:|--:|--:|---|---|
    | median | 6.07 ms | 7.21 ms | +18.8 % | +8.9 to +29.7 % | slower |
    | mean | 5.95 ms | 7.19 ms | +20.9 % | +19.4 to +22.3 % | slower |
    | p95 | 9.54 ms | 11.5 ms | +20.8 % | +13.0 to +32.6 % | slower |
    | p99 | – | – | – | (needs 459 queries each) |  |

    ### Row by row · new ÷ base of each row

    |  | change | interval |  |
    |---|--:|---|---|
    | geometric mean | +20.9 % | +19.0 to +22.9 % | slower |
    | median | +21.0 % |  |  |

    - signed-rank test: p \< 0.0001

    ### Confidence

    all intervals hold simultaneously with 95 % confidence, each with 98.75 %

    ### Totals

    |  |  |
    |---|---|
    | Throughput | 641 and 580 queries/s, -9.4 %, one value per run, so no interval |
    | Failed | 0 and 0 queries |

    ### Warnings

    - the settings differ: geqo none and off, work\_mem 4MB and 64MB
    - the numbers of agents and workers differ: 2 with 2 and 3 with 3
    - any other change between the two runs would look the same as this difference: run both again, alternating, to see whether it persists
    ");
}

#[test]
fn as_csv() {
    insta::assert_snapshot!(render(Format::Csv, &fixtures::paired(1.2)), @r"
    of,figure,base_ms,new_ms,change,change_low,change_high,finding
    service_time,median,6.069862,7.210518,0.18792124104304198,0.0889125415863087,0.2970113709281443,slower
    service_time,mean,5.952875445,7.194189605,0.2085234558439515,0.1937350571302705,0.22349505830557342,slower
    service_time,p95,9.538962,11.526383,0.20834772169131188,0.12956553578372668,0.32580952571373306,slower
    service_time,p99,,,,,,unsupported
    row_by_row,geometric_mean,,,0.20918388346561057,0.1898924300093866,0.22878810483855347,slower
    ");
}

#[test]
fn no_line_of_the_text_is_wider_than_the_page() {
    for (name, comparison) in fixtures::all() {
        check_lines(name, &render(Format::Text, &comparison));
    }
}

#[test]
fn every_format_ends_with_one_newline_and_markdown_rows_have_as_many_cells_as_their_header() {
    for (name, comparison) in fixtures::all() {
        for format in Format::ALL {
            let text = render(format, &comparison);
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}, {format}");
        }
        check_rows(name, &render(Format::Markdown, &comparison));
    }
}

#[test]
fn a_comparison_of_two_databases_in_one_run_does_not_suggest_another_run() {
    let result = fixtures::versus();
    let text = crate::render(Format::Text, &result);
    let section = text.split("VERSUS").nth(1).unwrap().split("\nplacement").next().unwrap();
    insta::assert_snapshot!(format!("VERSUS{section}"), @r"
    VERSUS   second database (new) against first (base), row by row in one run
      SLOWER   new takes longer: row by row +20.9 %, median +18.8 %, mean +20.9 %,
               p95 +20.8 %

    SERVICE TIME of 200 queries
                 base      new   change  interval
      median  6.07 ms  7.21 ms  +18.8 %  +8.9 to +29.7 %           slower
      mean    5.95 ms  7.19 ms  +20.9 %  +19.4 to +22.3 %          slower
      p95     9.54 ms  11.5 ms  +20.8 %  +13.0 to +32.6 %          slower
      p99           –        –        –  (needs 459 queries each)

    ROW BY ROW   new ÷ base of each row
                       change  interval
      geometric mean  +20.9 %  +19.0 to +22.9 %  slower
      median          +21.0 %
      signed-rank test  p < 0.0001

      all intervals hold simultaneously with 95 % confidence, each with 98.75 %
    ");
    let markdown = crate::render(Format::Markdown, &result);
    let versus = "\n### Versus · second database (new) against first (base), row by row in one run\n\n- **SLOWER**: new takes longer";
    assert!(markdown.contains(versus), "{markdown}");
    for report in [text, markdown] {
        assert!(!report.contains("run both again"), "{report}");
    }
}

// -- JSON --------------------------------------------------------------------------------------------------------------

#[test]
fn the_committed_schema_matches_the_types() {
    let committed =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/muster.compare.v1.schema.json");
    let fresh = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some_and(|update| update == "1") {
        std::fs::write(&committed, &fresh).unwrap();
    }
    let found = std::fs::read_to_string(committed).unwrap_or_default();
    assert!(
        found == fresh,
        "docs/muster.compare.v1.schema.json is stale; run this test again with UPDATE_SCHEMA=1"
    );
}

#[test]
fn every_comparison_is_valid_and_can_be_read_back() {
    let validator = jsonschema::validator_for(json_schema().as_value()).unwrap();
    for (name, comparison) in fixtures::all() {
        let json = render(Format::Json, &comparison);
        let value: Value = serde_json::from_str(&json).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison, "{name}");
    }
}
