//! The `tracing` layer: turns spans and events into a picture, or prints them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{self, Duration};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::Id;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::draw::{Bar, Curve, End, Lane, Picture};

/// How sqlx names the thread of a connection to SQLite.
const CONNECTION_THREAD: &str = "sqlx-sqlite-worker-";

/// The target of the line that a step's service logs for each call.
const CALLS: &str = "marketsvc::calls";

/// The lane of events outside of any lane.
const MAIN: &str = "main";

/// Notes what happens, and when since it was made.
#[derive(Clone)]
pub struct Recorder {
    start: Instant,
    narrates: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    picture: Picture,
    /// Connections in `picture.connections`, by thread.
    threads: HashMap<String, usize>,
    /// When spans were entered, by thread: a span may be entered on two at once.
    entered: HashMap<(u64, ThreadId), Duration>,
    /// When something last happened. A poll alone is not something.
    last: Duration,
    /// Nothing is recorded any more.
    finished: bool,
}

/// A bar of a lane; the span of a lane has it as an extension.
#[derive(Clone, Copy)]
pub struct Piece {
    lane: usize,
    bar: usize,
}

impl Recorder {
    pub fn new(narrates: bool) -> Self {
        Self {
            start: Instant::now(),
            narrates,
            state: Arc::default(),
        }
    }

    /// What was recorded so far. Nothing is recorded from now on.
    pub fn finish(&self, title: &str) -> Picture {
        let picture = self.at(|state, _| {
            state.finished = true;
            Picture {
                title: title.to_owned(),
                end: state.last,
                ..std::mem::take(&mut state.picture)
            }
        });
        picture.unwrap_or_default()
    }

    /// `None` when the recording has ended.
    fn at<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> Option<T> {
        // The time is taken under the lock, so that the order of the records is
        // that of their times.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.start.elapsed();
        (!state.finished).then(|| work(&mut state, now))
    }

    fn say(&self, state: &mut State, now: Duration, lane: usize, text: &str) {
        state.last = now;
        let lane = &state.picture.lanes[lane].name;
        if self.narrates {
            println!("{:>5} ms  {lane:<12} {text}", now.as_millis());
        } else {
            state.picture.order.push(format!("{lane}: {text}"));
        }
    }

    /// Begins a piece of work in the first lane of that name which is free.
    pub fn begin(&self, name: &str, blocking: bool) -> Option<Piece> {
        self.at(|state, now| {
            let free = |lane: &Lane| lane.bars.iter().all(|bar| bar.to.is_some());
            let lanes = &mut state.picture.lanes;
            let lane = find_or_add(lanes, name, |lane| lane.name == name && free(lane));
            let bars = &mut lanes[lane].bars;
            let bar = bars.len();
            bars.push(Bar {
                from: now,
                blocking,
                ..Bar::default()
            });
            self.say(state, now, lane, "begins");
            Piece { lane, bar }
        })
    }

    pub fn end(&self, piece: Piece, end: End) {
        self.at(|state, now| {
            let bar = &mut state.picture.lanes[piece.lane].bars[piece.bar];
            (bar.to, bar.end) = (Some(now), end);
            let text = match end {
                End::Panicked => "panics",
                End::Dropped => "is dropped",
                End::Done | End::Open => "ends",
            };
            self.say(state, now, piece.lane, text);
        });
    }

    pub fn past(&self, name: &str, label: &str, from: time::Instant, to: time::Instant) {
        self.at(|state, now| {
            state.last = now;
            let lanes = &mut state.picture.lanes;
            let lane = find_or_add(lanes, name, |lane| lane.name == name);
            lanes[lane].bars.push(Bar {
                from: now.saturating_sub(from.elapsed()),
                to: Some(now.saturating_sub(to.elapsed())),
                end: End::Done,
                label: Some(label.to_owned()),
                ..Bar::default()
            });
        });
    }

    pub fn count(&self, name: &str, value: u64) {
        self.at(|state, now| {
            state.last = now;
            let tracks = &mut state.picture.tracks;
            match tracks.iter_mut().find(|track| track.name == name) {
                Some(track) => track.values.push((now, value)),
                None => tracks.push(Curve {
                    name: name.to_owned(),
                    values: vec![(now, value)],
                }),
            }
        });
    }
}

/// The index of the first lane that `fits`; of a new one if none does.
fn find_or_add(lanes: &mut Vec<Lane>, name: &str, fits: impl Fn(&Lane) -> bool) -> usize {
    lanes.iter().position(fits).unwrap_or_else(|| {
        lanes.push(Lane {
            name: name.to_owned(),
            ..Lane::default()
        });
        lanes.len() - 1
    })
}

impl State {
    /// The lane of the connection whose thread this is. sqlx numbers its threads from 0
    /// in the order of their start.
    fn connection(&mut self, thread: &str) -> &mut Lane {
        let connections = &mut self.picture.connections;
        let index = *self.threads.entry(thread.to_owned()).or_insert_with(|| {
            let name = format!("connection {}", connections.len() + 1);
            find_or_add(connections, &name, |_| false)
        });
        &mut connections[index]
    }
}

/// The piece of work that a span stands for, or lies in.
fn piece<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Piece> {
    span.scope()
        .find_map(|span| span.extensions().get::<Piece>().copied())
}

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries talk at DEBUG, and sqlx's statements are not the program's.
        *metadata.level() <= Level::INFO && !metadata.target().starts_with("sqlx")
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let piece = context.event_span(event).as_ref().and_then(piece);
        // The log of a service that runs beside the lanes.
        if piece.is_none() && event.metadata().target() == CALLS {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.at(|state, now| {
            let lanes = &mut state.picture.lanes;
            let main = |lanes| find_or_add(lanes, MAIN, |lane| lane.name == MAIN);
            let lane = piece.map_or_else(|| main(lanes), |piece| piece.lane);
            state.picture.lanes[lane]
                .events
                .push((now, message.0.clone()));
            self.say(state, now, lane, &message.0);
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        let key = (id.into_u64(), thread::current().id());
        self.at(|state, now| state.entered.insert(key, now));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let piece = context.span(id).as_ref().and_then(piece);
        let thread = thread::current();
        let key = (id.into_u64(), thread.id());
        self.at(|state, now| {
            let from = state.entered.remove(&key).unwrap_or(now);
            let name = thread.name().unwrap_or_default();
            if name.starts_with(CONNECTION_THREAD) {
                state.connection(name).note_busy(from, now);
            } else if let Some(piece) = piece {
                state.picture.lanes[piece.lane].note_busy(from, now);
            }
        });
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;
    use tracing::info;
    use tracing::subscriber::with_default;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::{count, lane};

    const MS: Duration = Duration::from_millis(1);

    /// What is recorded of `work` on a paused clock.
    fn recorded(work: impl Future<Output = ()>) -> Picture {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let recorder = Recorder::new(false);
            let subscriber = Registry::default().with(recorder.clone());
            let _guard = tracing::subscriber::set_default(subscriber);
            work.await;
            recorder.finish("a test")
        })
    }

    #[test]
    fn lanes_begin_and_end_with_their_futures() {
        let picture = recorded(async {
            let late = lane("late", async { sleep(10 * MS).await });
            sleep(5 * MS).await;
            tokio::join!(late, lane("early", sleep(3 * MS)));
            info!("both");
        });
        let bars: Vec<_> = picture
            .lanes
            .iter()
            .flat_map(|lane| lane.bars.iter().map(|bar| (&*lane.name, bar.from, bar.to)))
            .collect();
        assert_eq!(
            bars,
            [
                ("late", 5 * MS, Some(15 * MS)),
                ("early", 5 * MS, Some(8 * MS))
            ]
        );
        assert_eq!(
            picture.order,
            [
                "late: begins",
                "early: begins",
                "early: ends",
                "late: ends",
                "main: both"
            ]
        );
        assert_eq!(picture.end, 15 * MS);
    }

    #[test]
    fn work_that_has_ended_has_its_place() {
        let recorder = Recorder::new(false);
        let subscriber = Registry::default().with(recorder.clone());
        let from = time::Instant::now();
        with_default(subscriber, || {
            for (label, start) in [("slow", 3), ("one", 8)] {
                let at = |ms| from + ms * MS;
                while at(start + 2).elapsed().is_zero() {
                    thread::yield_now();
                }
                crate::past("client", label, at(start), at(start + 2));
            }
        });
        let picture = recorder.finish("a test");
        assert_eq!(picture.lanes.len(), 1);
        let bars = &picture.lanes[0].bars;
        let labels: Vec<_> = bars.iter().map(|bar| bar.label.as_deref()).collect();
        assert_eq!(labels, [Some("slow"), Some("one")]);
        for bar in bars {
            let length = bar.to.unwrap().saturating_sub(bar.from);
            assert!(length.abs_diff(2 * MS) <= MS / 100, "{length:?}");
        }
    }

    #[test]
    fn it_is_seen_how_a_future_ends() {
        let picture = recorded(async {
            let _ = tokio::time::timeout(2 * MS, lane("dropped", sleep(9 * MS))).await;
            let panics = lane("panics", async { std::panic::resume_unwind(Box::new(())) });
            let _ = tokio::spawn(panics).await;
            let _goes_on = tokio::spawn(lane("goes on", sleep(9 * MS)));
            sleep(MS).await;
        });
        let ends: Vec<_> = picture
            .lanes
            .iter()
            .map(|lane| (&*lane.name, lane.bars[0].end))
            .collect();
        assert_eq!(
            ends,
            [
                ("dropped", End::Dropped),
                ("panics", End::Panicked),
                ("goes on", End::Open)
            ]
        );
    }

    #[test]
    fn a_name_that_is_taken_gets_a_second_row_and_a_free_one_does_not() {
        let picture = recorded(async {
            tokio::join!(lane("a", sleep(MS)), lane("a", sleep(MS)));
            lane("a", sleep(MS)).await;
        });
        let bars: Vec<_> = picture.lanes.iter().map(|lane| lane.bars.len()).collect();
        assert_eq!(bars, [2, 1]);
    }

    #[test]
    fn events_belong_to_the_lane_that_they_are_in() {
        let picture = recorded(lane("outer", async {
            info!("one");
            lane("inner", async { info!("two") }).await;
            count("rows", 7);
        }));
        let said: Vec<_> = picture
            .lanes
            .iter()
            .map(|lane| (&*lane.name, &*lane.events[0].1))
            .collect();
        assert_eq!(said, [("outer", "one"), ("inner", "two")]);
        assert_eq!(picture.tracks[0].values, [(Duration::ZERO, 7)]);
    }

    #[test]
    fn a_connection_is_a_lane_by_the_name_of_its_thread() {
        let picture = recorded(lane("query", async {
            let span = tracing::Span::current();
            for number in [3, 8, 3] {
                let span = span.clone();
                thread::Builder::new()
                    .name(format!("{CONNECTION_THREAD}{number}"))
                    .spawn(move || span.in_scope(|| ()))
                    .unwrap()
                    .join()
                    .unwrap();
            }
        }));
        let names: Vec<_> = picture.connections.iter().map(|lane| &*lane.name).collect();
        assert_eq!(names, ["connection 1", "connection 2"]);
    }
}
