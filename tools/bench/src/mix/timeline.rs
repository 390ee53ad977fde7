//! How many connections were in use, over time.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often somebody looks.
const EVERY: Duration = Duration::from_millis(5);

/// Looks from a thread of its own, so that busy tasks do not keep it waiting.
pub struct Sampler {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<(f64, usize)>>,
}

impl Sampler {
    /// Begins to note what `in_use` says.
    pub fn start(in_use: impl Fn() -> usize + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let start = Instant::now();
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            loop {
                samples.push((start.elapsed().as_secs_f64(), in_use()));
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return samples;
                }
            }
        });
        Self { stop, thread }
    }

    pub fn finish(self) -> Timeline {
        drop(self.stop);
        Timeline(self.thread.join().unwrap_or_default())
    }
}

/// Seconds since the beginning, and connections in use then.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct Timeline(pub Vec<(f64, usize)>);

impl Timeline {
    /// The most that were seen at one time.
    pub fn peak(&self) -> usize {
        self.0.iter().map(|(_, in_use)| *in_use).max().unwrap_or(0)
    }

    /// For a plot: the time cut into at most `pieces`, and the most that were
    /// seen in each.
    pub fn points(&self, pieces: u32) -> Vec<(f64, f64)> {
        let Some(&(end, _)) = self.0.last() else {
            return Vec::new();
        };
        let piece = end / f64::from(pieces);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for &(at, in_use) in &self.0 {
            #[expect(clippy::cast_precision_loss, reason = "a few hundred connections")]
            let in_use = in_use as f64;
            match points.last_mut() {
                Some((begin, most)) if at < *begin + piece => *most = most.max(in_use),
                _ => points.push((at, in_use)),
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_sampler_sees_what_changes() {
        let in_use = Arc::new(AtomicUsize::new(1));
        let looks = Arc::new(AtomicUsize::new(0));
        let sampler = Sampler::start({
            let (in_use, looks) = (in_use.clone(), looks.clone());
            move || {
                looks.fetch_add(1, Ordering::SeqCst);
                in_use.load(Ordering::SeqCst)
            }
        });
        let wait_for_a_look = || {
            let before = looks.load(Ordering::SeqCst);
            while looks.load(Ordering::SeqCst) < before + 2 {
                thread::yield_now();
            }
        };
        wait_for_a_look();
        in_use.store(40, Ordering::SeqCst);
        wait_for_a_look();
        in_use.store(0, Ordering::SeqCst);
        wait_for_a_look();
        let timeline = sampler.finish();
        assert_eq!(timeline.peak(), 40);
        let seen: Vec<_> = timeline.0.iter().map(|(_, in_use)| *in_use).collect();
        assert!(seen.starts_with(&[1]) && seen.ends_with(&[0]), "{seen:?}");
        assert!(timeline.0.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn no_peak_is_lost_in_a_plot() {
        let samples = (0..1000).map(|i| (f64::from(i), if i == 777 { 9 } else { 1 }));
        let timeline = Timeline(samples.collect());
        let points = timeline.points(50);
        assert!(points.len() <= 51, "{}", points.len());
        assert!(points.iter().any(|(_, most)| *most > 8.0));
        assert_eq!(Timeline::default().points(50), []);
    }
}
