//! The `tracing` layer: turns spans and events into a picture, or prints them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::draw::{Bar, End, Lane, Picture, Track};
use crate::{COUNT, END, LANE, PAST};

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
    /// Places in `picture.connections`, by thread.
    threads: HashMap<String, usize>,
    /// When spans were entered, by thread: a span may be entered on two at once.
    entered: HashMap<(u64, thread::ThreadId), Duration>,
    /// When something last happened. A poll alone is not something.
    last: Duration,
    /// Nothing is reported any more.
    finished: bool,
}

#[derive(Clone, Copy)]
struct Piece {
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

    /// What was recorded so far. Nothing is reported from now on.
    pub fn finish(&self, title: &str) -> Picture {
        self.at(|state, _| {
            state.finished = true;
            // A connection may still be at work; it is in no picture any more.
            state.threads.clear();
            Picture {
                title: title.to_owned(),
                end: state.last,
                ..std::mem::take(&mut state.picture)
            }
        })
    }

    fn at<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> T {
        // The time is taken under the lock, so that the order of the records is
        // that of their times.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.start.elapsed();
        work(&mut state, now)
    }

    fn say(&self, now: Duration, state: &mut State, lane: &str, text: &str) {
        if !state.finished && self.narrates {
            println!("{:>5} ms  {lane:<12} {text}", now.as_millis());
        } else if !state.finished {
            state.picture.order.push(format!("{lane}: {text}"));
        }
    }
}

/// The place of the first lane that `fits`; of a new one if none does.
fn lane_place(lanes: &mut Vec<Lane>, name: &str, fits: impl Fn(&Lane) -> bool) -> usize {
    lanes.iter().position(fits).unwrap_or_else(|| {
        lanes.push(Lane {
            name: name.to_owned(),
            ..Lane::default()
        });
        lanes.len() - 1
    })
}

impl State {
    /// Begins a piece of work in the first lane of that name which is free.
    fn begin(&mut self, name: &str, blocking: bool, now: Duration) -> Piece {
        let lanes = &mut self.picture.lanes;
        let free = |lane: &Lane| lane.bars.iter().all(|bar| bar.to.is_some());
        let lane = lane_place(lanes, name, |lane| lane.name == name && free(lane));
        let bars = &mut lanes[lane].bars;
        bars.push(Bar {
            from: now,
            to: None,
            end: End::Open,
            blocking,
            label: None,
        });
        let bar = bars.len() - 1;
        Piece { lane, bar }
    }

    fn past(&mut self, name: &str, label: &str, from: Duration, to: Duration) {
        let lanes = &mut self.picture.lanes;
        let lane = lane_place(lanes, name, |lane| lane.name == name);
        lanes[lane].bars.push(Bar {
            from,
            to: Some(to),
            end: End::Done,
            blocking: false,
            label: Some(label.to_owned()),
        });
    }

    fn count(&mut self, name: &str, value: u64, now: Duration) {
        let tracks = &mut self.picture.tracks;
        match tracks.iter_mut().find(|track| track.name == name) {
            Some(track) => track.values.push((now, value)),
            None => tracks.push(Track {
                name: name.to_owned(),
                values: vec![(now, value)],
                full: 0,
            }),
        }
    }

    /// The lane of the connection whose thread this is.
    fn connection(&mut self, thread: &str) -> &mut Lane {
        // sqlx numbers its threads from 0 in the order of their start.
        let connections = &mut self.picture.connections;
        let place = *self.threads.entry(thread.to_owned()).or_insert_with(|| {
            let name = format!("connection {}", connections.len() + 1);
            lane_place(connections, &name, |_| false)
        });
        &mut connections[place]
    }

    /// `None` for what is no longer recorded.
    fn lane(&mut self, place: Option<Piece>) -> Option<&mut Lane> {
        self.picture.lanes.get_mut(place?.lane)
    }
}

/// The lane that a span stands for, or lies in.
fn place<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Piece> {
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

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if attributes.metadata().target() != LANE {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = fields.text("name");
        let place = self.at(|state, now| {
            state.last = now;
            self.say(now, state, name, "begins");
            state.begin(name, fields.text("blocking") == "true", now)
        });
        span.extensions_mut().insert(place);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let found = context.event_span(event).as_ref().and_then(place);
        self.at(|state, now| {
            state.last = now;
            let name = state.lane(found).map(|lane| lane.name.clone());
            let name = name.as_deref().unwrap_or(MAIN);
            match event.metadata().target() {
                END => {
                    let (end, text) = match fields.text("how") {
                        "done" => (End::Done, "ends"),
                        "panicked" => (End::Panicked, "panics"),
                        _ => (End::Dropped, "is dropped"),
                    };
                    if let Some((lane, place)) = state.lane(found).zip(found) {
                        lane.bars[place.bar].to = Some(now);
                        lane.bars[place.bar].end = end;
                    }
                    self.say(now, state, name, text);
                }
                COUNT => {
                    let value = fields.text("value").parse().unwrap_or(0);
                    state.count(fields.text("name"), value, now);
                }
                PAST => {
                    let at = |field| {
                        let ago = fields.text(field).parse().unwrap_or(0);
                        now.saturating_sub(Duration::from_micros(ago))
                    };
                    state.past(
                        fields.text("name"),
                        fields.text("label"),
                        at("from"),
                        at("to"),
                    );
                }
                // The log of a service that runs beside the lanes.
                CALLS if found.is_none() => {}
                _ => {
                    let message = fields.text("message");
                    let lanes = &mut state.picture.lanes;
                    let lane = match found {
                        Some(piece) if piece.lane < lanes.len() => piece.lane,
                        _ => lane_place(lanes, MAIN, |lane| lane.name == MAIN),
                    };
                    lanes[lane].events.push((now, message.to_owned()));
                    self.say(now, state, name, message);
                }
            }
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        let key = (id.into_u64(), thread::current().id());
        self.at(|state, now| state.entered.insert(key, now));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let place = context.span(id).as_ref().and_then(place);
        let thread = thread::current();
        let key = (id.into_u64(), thread.id());
        self.at(|state, now| {
            let from = state.entered.remove(&key).unwrap_or(now);
            let name = thread.name().unwrap_or_default();
            let lane = if name.starts_with(CONNECTION_THREAD) {
                Some(state.connection(name))
            } else {
                state.lane(place)
            };
            if let Some(lane) = lane {
                lane.note_busy(from, now);
            }
        });
    }
}

#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
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
        let from = std::time::Instant::now();
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
