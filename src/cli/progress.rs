//! Progress of long work on stderr: a bar on a terminal, plain lines elsewhere, silence with `--json`.
//!
//! Invariants: plain lines come at every tenth of the way, and every 30 s when that takes long; the same step is never said
//! twice. Rate and forecast are the caller's ([`Progress::show`]); work over holes, which cost no time, has a forecast only
//! ([`Progress::advance`]), since its rate would be of bytes nobody moved, and no plain line before it has taken three seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use super::size;

/// Work over holes that ends within this is not worth a plain line.
const SILENT_AT_FIRST: Duration = Duration::from_secs(3);
/// Longest silence between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Form of the bar: label, bar, percent, and what is left.
const FORM: &str = "{prefix} [{bar:36}] {percent:>3}%  {msg}";

/// Progress of one piece of work at a time.
pub struct Progress {
    style: Style,
    label: String,
    total: u64,
    started: Instant,
    said: Instant,
    said_tenth: Option<u64>,
}

enum Style {
    Silent,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Progress as fits the place: a bar if stderr is a terminal, lines if not, nothing with JSON.
    pub fn new(output: &Output) -> Progress {
        let style = match (output.is_json(), std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, false) => Style::Lines,
            (false, true) => Style::Bar(bar()),
        };
        let now = Instant::now();
        Progress { style, label: String::new(), total: 0, started: now, said: now, said_tenth: None }
    }

    /// Begins a piece of work of `total` bytes, called `label` ("zeroing", "checking").
    pub fn begin(&mut self, label: &str, total: u64) {
        let now = Instant::now();
        (self.label, self.total, self.started, self.said, self.said_tenth) = (label.into(), total, now, now, None);
        if let Style::Bar(bar) = &self.style {
            bar.reset();
            bar.set_prefix(self.label.clone());
            bar.set_length(total);
        }
    }

    /// The work is of `total` bytes, as is known by now.
    pub fn resize(&mut self, total: u64) {
        self.total = total;
        if let Style::Bar(bar) = &self.style {
            bar.set_length(total);
        }
    }

    /// `done` of the total bytes are done; the forecast is computed from the run so far.
    pub fn advance(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        if matches!(self.style, Style::Lines) && elapsed < SILENT_AT_FIRST {
            return;
        }
        let left = forecast(elapsed, done, self.total);
        self.show(done, &left.map(|left| format!("{} left", size::seconds(left))).unwrap_or_default());
    }

    /// `done` of the total is done; `detail` says how it goes.
    pub fn show(&mut self, done: u64, detail: &str) {
        if let Style::Bar(bar) = &self.style {
            bar.set_position(done.min(self.total));
            bar.set_message(detail.to_owned());
            return;
        }
        let percent = size::percent(done, self.total);
        if self.said_tenth == Some(percent / 10) && self.said.elapsed() < LINE_EVERY {
            return;
        }
        (self.said_tenth, self.said) = (Some(percent / 10), Instant::now());
        let comma = if detail.is_empty() { "" } else { ", " };
        self.line(&format!("{}: {percent}%{comma}{detail}", self.label));
    }

    /// Says something in passing, without harm to a bar.
    pub fn say(&self, text: &str) {
        match &self.style {
            Style::Bar(bar) => bar.println(text),
            _ => self.line(text),
        }
    }

    /// Ends the piece of work and takes the bar away.
    pub fn end(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if let Style::Lines = self.style {
            // Progress is a courtesy: losing it must not stop the work.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Seconds left if the rest goes like what is done; nothing in the first second, which says too little.
fn forecast(elapsed: Duration, done: u64, total: u64) -> Option<u64> {
    let known = done > 0 && elapsed > Duration::from_secs(1);
    known.then(|| (elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done as f64) as u64)
}

/// Rate and forecast in words.
pub fn speed(bytes_per_s: u64, eta_s: Option<u64>) -> String {
    match eta_s {
        Some(eta) => format!("{}, {} left", size::rate(bytes_per_s), size::seconds(eta)),
        None => size::rate(bytes_per_s),
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(FORM) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_forecast_is_the_run_so_far_stretched() {
        assert_eq!(forecast(30 * SECOND, 1 << 40, 4 << 40), Some(90));
        assert_eq!(forecast(30 * SECOND, 5, 5), Some(0));
        assert_eq!(forecast(30 * SECOND, 0, 5), None);
        assert_eq!(forecast(SECOND, 1 << 40, 4 << 40), None);
    }
}
