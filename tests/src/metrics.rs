use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

/// What a metrics endpoint said, at one moment (`OpenMetrics` text format).
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks the endpoint at `address`.
    pub fn of(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { text: get(address, "/metrics")? })
    }

    /// Asks it whether the agent is ready: an error if it is not.
    pub fn ready(address: SocketAddr) -> anyhow::Result<()> {
        get(address, "/readyz").map(drop)
    }

    /// The sum of all series of the metric `name` that carry each of `labels`; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// How many series of the metric `name` carry each of `labels`.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.series(name, labels).count()
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn series(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &str> {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        self.text.lines().filter(move |line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        })
    }
}

/// What is there, if the answer is 200.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).context("the metrics endpoint does not answer")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("the answer has no body")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_selected_by_name_and_labels() {
        let text = "# TYPE calls counter\ncalls_total{a=\"x\",b=\"y\"} 2\ncalls_total{a=\"z\"} 3\ncalls_total_x 9\nup 1\n";
        let metrics = Metrics { text: text.to_owned() };
        assert!((metrics.sum("calls_total", &[]) - 5.0).abs() < f64::EPSILON);
        assert_eq!(metrics.count("calls_total", &[("a", "x")]), 1);
        assert_eq!(metrics.count("up", &[]), 1);
        assert_eq!(metrics.count("calls", &[]), 0);
    }
}
