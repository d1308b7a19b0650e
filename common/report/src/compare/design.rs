//! The design of a comparison: how the measurements of two runs are matched, and the error of a difference between them.

use muster_stats::statistics::dependence::{Sequence, SeriesMean};

use super::series::{Series, Timed};

/// A row counts as run at the same time in both runs if it is at most this many batches apart.
const BATCHES_APART_MAX: usize = 1;
/// Minimum percentage of rows run at the same time for the runs to have the same order.
const IN_PLACE_MIN: usize = 90;

/// Two samples, with their rows paired or not. If paired, both contain the same rows.
#[derive(Debug)]
pub(super) struct Design {
    pub(super) base: Sample,
    pub(super) new: Sample,
    pub(super) pairs: Option<Pairs>,
}

/// The times of one run.
#[derive(Debug)]
pub(super) struct Sample {
    /// In order of the queries' start times.
    pub(super) times_ns: Vec<u64>,
    /// In ascending order.
    pub(super) sorted_ns: Vec<u64>,
    pub(super) sequence: Sequence,
}

impl Sample {
    fn of<'a>(timed: impl Iterator<Item = &'a Timed> + Clone, time: fn(&Timed) -> u64) -> Self {
        let times_ns: Vec<u64> = timed.clone().map(time).collect();
        let mut sorted_ns = times_ns.clone();
        sorted_ns.sort_unstable();
        Self { times_ns, sorted_ns, sequence: Sequence::new(timed.map(|timed| timed.worker)) }
    }

    pub(super) fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// Returns the mean of `value` over all times.
    pub(super) fn mean(&self, value: impl Fn(u64) -> f64) -> Option<SeriesMean> {
        let values: Vec<f64> = self.times_ns.iter().map(|ns| value(*ns)).collect();
        self.sequence.mean(&values)
    }
}

/// The matching of rows between the runs.
#[derive(Debug)]
pub(super) struct Pairs {
    /// For each query of base, in its order: the position of the same row in the order of new.
    in_new: Vec<usize>,
    /// True if both runs reached each row at about the same time, so that dependence between rows is the same in both.
    has_same_order: bool,
}

impl Design {
    pub(super) fn two_samples(base: &Series, new: &Series, time: fn(&Timed) -> u64) -> Self {
        let [base, new] = [base, new].map(|series| Sample::of(series.timed().iter(), time));
        Self { base, new, pairs: None }
    }

    pub(super) fn paired(base: &Series, new: &Series, time: fn(&Timed) -> u64) -> Self {
        // For each query, in its run's order: the position of its row in the other run.
        let mut partner_of_base = vec![None; base.len()];
        let mut is_paired_in_new = vec![false; new.len()];
        let mut of_new = new.by_row().into_iter().peekable();
        for in_base in base.by_row() {
            let row = base.timed()[in_base].row;
            while of_new.next_if(|in_new| new.timed()[*in_new].row < row).is_some() {}
            if let Some(in_new) = of_new.next_if(|in_new| new.timed()[*in_new].row == row) {
                partner_of_base[in_base] = Some(in_new);
                is_paired_in_new[in_new] = true;
            }
        }
        // Renumber the positions without the rows that have no partner.
        let mut moved_to = Vec::with_capacity(new.len());
        let mut kept = 0;
        for is_paired in &is_paired_in_new {
            moved_to.push(kept);
            kept += usize::from(*is_paired);
        }
        let in_new: Vec<usize> = partner_of_base.iter().flatten().map(|in_new| moved_to[*in_new]).collect();
        let of_base = base.timed().iter().zip(&partner_of_base).filter(|(_, partner)| partner.is_some());
        let of_new = new.timed().iter().zip(&is_paired_in_new).filter(|(_, is_paired)| **is_paired);
        let base = Sample::of(of_base.map(|(timed, _)| timed), time);
        let new = Sample::of(of_new.map(|(timed, _)| timed), time);
        let has_same_order = has_same_order(&in_new, base.sequence.batch().max(new.sequence.batch()));
        Self { base, new, pairs: Some(Pairs { in_new, has_same_order }) }
    }

    pub(super) fn counts(&self) -> [usize; 2] {
        [self.base.len(), self.new.len()]
    }

    /// Applies `value` to each pair of times (base, new), in the order of base. `None` unless rows are paired.
    pub(super) fn of_pairs<T>(&self, value: impl Fn(u64, u64) -> T) -> Option<Vec<T>> {
        let in_new = &self.pairs.as_ref()?.in_new;
        let pairs = self.base.times_ns.iter().zip(in_new);
        Some(pairs.map(|(base, in_new)| value(*base, self.new.times_ns[*in_new])).collect())
    }

    /// Returns the mean of values of pairs, which are given in the order of base. Its error includes the dependence between neighbours in
    /// the order of base and in the order of new.
    pub(super) fn mean_of_pairs(&self, values: &[f64]) -> Option<SeriesMean> {
        let pairs = self.pairs.as_ref()?;
        let mut in_order_of_new = vec![0.0; values.len()];
        for (value, in_new) in values.iter().zip(&pairs.in_new) {
            in_order_of_new[*in_new] = *value;
        }
        let in_base = self.base.sequence.mean(values)?;
        let in_new = self.new.sequence.mean(&in_order_of_new)?;
        let [of_base, of_new] = [in_base, in_new].map(|mean| mean.long_run_variance);
        let long_run_variance = if pairs.has_same_order {
            // Either order shows all of the dependence; the order of the run with fewer workers shows slightly more.
            of_base.max(of_new)
        } else {
            // Each order shows only the dependence within its own run, and the other run's values look independent in it.
            (of_base + of_new - in_base.variance).max(of_base).max(of_new)
        };
        let degrees_of_freedom = in_base.degrees_of_freedom.min(in_new.degrees_of_freedom);
        Some(SeriesMean { long_run_variance, degrees_of_freedom, ..in_base })
    }
}

fn has_same_order(in_new: &[usize], batch: usize) -> bool {
    let batch = batch.max(1);
    let in_place = in_new.iter().enumerate();
    let in_place = in_place
        .filter(|(in_base, in_new)| (in_base / batch).abs_diff(**in_new / batch) <= BATCHES_APART_MAX)
        .count();
    in_place * 100 >= in_new.len() * IN_PLACE_MIN
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;

    use super::*;

    /// A series of rows in the order in which they ran.
    fn series(rows: &[(u32, u64)]) -> Series {
        let timed = (0..).zip(rows).map(|(start_ns, (row, service_ns))| Timed {
            row: RowId::new(*row),
            worker: 0,
            start_ns,
            lag_ns: 0,
            service_ns: *service_ns,
        });
        Series::new(timed.collect())
    }

    #[test]
    fn rows_are_paired_by_their_ids() {
        let base = series(&[(3, 30), (1, 10), (9, 90), (2, 20), (5, 50)]);
        let new = series(&[(5, 51), (4, 41), (2, 21), (3, 31), (0, 1)]);
        let design = Design::paired(&base, &new, Timed::service_ns);
        assert_eq!(design.of_pairs(|base, new| (base, new)).unwrap(), [(30, 31), (20, 21), (50, 51)]);
        assert_eq!(design.base.times_ns, [30, 20, 50]);
        assert_eq!(design.new.times_ns, [51, 21, 31]);
        assert_eq!(design.counts(), [3, 3]);
    }

    #[test]
    fn runs_without_a_common_row_have_no_pairs() {
        let design = Design::paired(&series(&[(1, 1)]), &series(&[(2, 1)]), Timed::service_ns);
        assert_eq!(design.counts(), [0, 0]);
        assert_eq!(design.mean_of_pairs(&[]), None);
    }

    #[test]
    fn the_order_is_the_same_if_rows_run_at_about_the_same_time() {
        let neighbours_swapped: Vec<usize> = (0..1_000).map(|i| i ^ 1).collect();
        assert!(has_same_order(&neighbours_swapped, 33));
        let backwards: Vec<usize> = (0..1_000).rev().collect();
        assert!(!has_same_order(&backwards, 33));
    }

    /// Values that are autocorrelated in one order look independent in the other, so both orders must be analysed.
    #[test]
    fn dependence_in_either_run_is_detected() {
        let count: u32 = 2_000;
        let scattered = |i: u32| i * 1_201 % count;
        let in_order: Vec<(u32, u64)> = (0..count).map(|i| (i, 1)).collect();
        let out_of_order: Vec<(u32, u64)> = (0..count).map(|i| (scattered(i), 1)).collect();
        let design = Design::paired(&series(&in_order), &series(&out_of_order), Timed::service_ns);
        // Long waves in the order of base, and in the order of new.
        let wave = |i: u32| (f64::from(i) / 100.0).sin();
        let in_base: Vec<f64> = (0..count).map(wave).collect();
        let mut in_new = vec![0.0; count as usize];
        (0..count).for_each(|i| in_new[scattered(i) as usize] = wave(i));
        for values in [in_base, in_new] {
            let mean = design.mean_of_pairs(&values).unwrap();
            assert!(mean.inflation() > 10.0, "{mean:?}");
        }
    }
}
