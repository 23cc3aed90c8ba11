//! One look at a server: what it says of itself, its metrics, and what happened
//! of late. It must not know what is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::admin::api::{Recent, Status};
use crate::cli::Failed;
use crate::cli::client::{Client, read};

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) recent: Recent,
    pub(super) metrics: Metrics,
}

/// Samples by name and labels, as they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(BTreeMap<String, f64>);

/// A histogram's buckets: up to how many seconds, and how many up to there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Look {
    pub(super) fn at(client: &Client) -> Result<Self, Failed> {
        Ok(Self {
            status: read(&client.get("/v1/status")?)?,
            recent: read(&client.get("/v1/recent")?)?,
            metrics: Metrics::parse(&client.text("/metrics")?),
        })
    }

    /// Seconds since an earlier one, by the server's own clock.
    pub(super) fn seconds_since(&self, earlier: &Self) -> f64 {
        let time = |look: &Self| look.status.now.parse::<jiff::Timestamp>().unwrap_or_default();
        let passed = time(self).duration_since(time(earlier)).as_secs_f64();
        if passed > 0.0 { passed } else { f64::INFINITY }
    }
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            Some((sample.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// A sample, such as `name` or `name{label="value"}`; 0 where there is none.
    pub(super) fn get(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or_default()
    }

    /// The sum of all samples that begin with that.
    pub(super) fn sum(&self, beginning: &str) -> f64 {
        let from = self.0.range(beginning.to_owned()..);
        from.take_while(|(sample, _)| sample.starts_with(beginning)).fold(0.0, |sum, (_, value)| sum + value)
    }

    /// The histogram of that name with those labels (`a="b"`, or none).
    pub(super) fn buckets(&self, name: &str, labels: &str) -> Buckets {
        let comma = if labels.is_empty() { "" } else { "," };
        let beginning = format!("{name}_bucket{{{labels}{comma}le=\"");
        let from = self.0.range(beginning.clone()..).take_while(|(sample, _)| sample.starts_with(&beginning));
        let mut buckets: Vec<_> = from
            .filter_map(|(sample, count)| {
                let bound = sample[beginning.len()..].strip_suffix("\"}")?;
                Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, *count))
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        Buckets(buckets)
    }
}

impl Buckets {
    /// What has come since an earlier look; all of it where the server has begun anew.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        if self.0.len() != earlier.0.len() || self.count() < earlier.count() {
            return self.clone();
        }
        Self(self.0.iter().zip(&earlier.0).map(|(now, before)| (now.0, (now.1 - before.1).max(0.0))).collect())
    }

    pub(super) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What that share of them took no longer than, by a straight line within a
    /// bucket; the last bound for what is over it.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = self.count() * share;
        if wanted <= 0.0 {
            return None;
        }
        let (mut below, mut count_below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= wanted {
                let seconds = match bound.is_finite() {
                    true => below + (bound - below) * (wanted - count_below) / (count - count_below),
                    false => below,
                };
                return Duration::try_from_secs_f64(seconds).ok();
            }
            (below, count_below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP h x\n# TYPE h histogram\n\
        h_bucket{policy=\"a\",le=\"0.001\"} 50\nh_bucket{policy=\"a\",le=\"0.002\"} 90\nh_bucket{policy=\"a\",le=\"+Inf\"} 100\n\
        h_bucket{le=\"1.0\"} 4\nh_bucket{le=\"+Inf\"} 4\n\
        c_total{why=\"b\"} 3\nc_total{why=\"w\"} 4\nc_totals 9\n";

    #[test]
    fn metrics_are_read_as_they_are_written() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!((metrics.get("c_total{why=\"b\"}"), metrics.get("nothing")), (3.0, 0.0));
        assert_eq!(metrics.sum("c_total{"), 7.0);
        let buckets = metrics.buckets("h", "policy=\"a\"");
        assert_eq!(buckets.count(), 100.0);
        let at = |share| buckets.quantile(share).map(|at| at.as_micros());
        assert_eq!((at(0.25), at(0.5), at(0.7), at(0.99)), (Some(500), Some(1000), Some(1500), Some(2000)));
        assert_eq!(metrics.buckets("h", "").count(), 4.0);
        assert_eq!(Buckets::default().quantile(0.5), None);
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
        assert_eq!(buckets.since(&Buckets::default()), buckets);
    }
}
