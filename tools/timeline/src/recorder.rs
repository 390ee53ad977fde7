//! The `tracing` layer: turns spans and events into a picture, or prints them.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
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
use crate::{COUNT, END, LANE};

/// How sqlx names the thread of a connection to SQLite.
const CONNECTION_THREAD: &str = "sqlx-sqlite-worker-";

/// The lane of events outside of any lane.
const MAIN: &str = "main";

/// What becomes of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// A line on stdout, at once; nothing is kept.
    EachEvent,
    /// Kept for [`Recorder::finish`].
    AtTheEnd,
}

/// Notes what happens, and when since it was made.
pub struct Recorder {
    start: Instant,
    reports: Reports,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    picture: Picture,
    /// Which place in `picture.connections` belongs to a thread.
    threads: HashMap<String, usize>,
    /// Spans that are entered just now, with the time, by thread: a span may be
    /// entered on two at once.
    entered: HashMap<(u64, thread::ThreadId), Duration>,
    /// When something last happened. A poll alone is not something.
    last: Duration,
    /// Nothing is reported any more.
    finished: bool,
}

/// Where a span's piece of work is: the lane, and the bar in it.
#[derive(Clone, Copy)]
struct Place {
    lane: usize,
    bar: usize,
}

/// One recorder for the subscriber and for who draws.
pub struct Shared(pub Arc<Recorder>);

impl Recorder {
    pub fn new(reports: Reports) -> Self {
        Self {
            start: Instant::now(),
            reports,
            state: Mutex::default(),
        }
    }

    /// What was recorded so far. Nothing is reported from now on.
    pub fn finish(&self, title: &str) -> Picture {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.finished = true;
        let end = state.last;
        let mut picture = std::mem::take(&mut state.picture);
        // A connection may still be at work; it is in no picture any more.
        state.threads.clear();
        title.clone_into(&mut picture.title);
        picture.end = end;
        picture
    }

    /// Does `work` with the state and the time.
    fn at<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> T {
        // The time is taken under the lock, so that the order of the records is
        // that of their times.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.start.elapsed();
        work(&mut state, now)
    }

    fn say(&self, now: Duration, state: &mut State, lane: &str, text: &str) {
        if state.finished {
            return;
        }
        match self.reports {
            Reports::EachEvent => println!("{:>5} ms  {lane:<12} {text}", now.as_millis()),
            Reports::AtTheEnd => state.picture.order.push(format!("{lane}: {text}")),
        }
    }
}

impl State {
    /// Begins a piece of work in the first lane of that name which is free.
    fn begin(&mut self, name: &str, blocking: bool, now: Duration) -> Place {
        let lanes = &mut self.picture.lanes;
        let free = |lane: &Lane| lane.bars.iter().all(|bar| bar.to.is_some());
        let found = lanes
            .iter()
            .position(|lane| lane.name == name && free(lane));
        let lane = found.unwrap_or_else(|| {
            lanes.push(Lane {
                name: name.to_owned(),
                ..Lane::default()
            });
            lanes.len() - 1
        });
        lanes[lane].bars.push(Bar {
            from: now,
            to: None,
            end: End::Open,
            blocking,
        });
        Place {
            lane,
            bar: lanes[lane].bars.len() - 1,
        }
    }

    fn event(&mut self, lane: Option<usize>, now: Duration, text: &str) {
        let lanes = &mut self.picture.lanes;
        let lane = lane.unwrap_or_else(|| {
            let found = lanes.iter().position(|lane| lane.name == MAIN);
            found.unwrap_or_else(|| {
                lanes.push(Lane {
                    name: MAIN.to_owned(),
                    ..Lane::default()
                });
                lanes.len() - 1
            })
        });
        lanes[lane].events.push((now, text.to_owned()));
    }

    fn count(&mut self, name: &str, value: u64, now: Duration) {
        let tracks = &mut self.picture.tracks;
        let found = tracks.iter().position(|track| track.name == name);
        let index = found.unwrap_or_else(|| {
            tracks.push(Track {
                name: name.to_owned(),
                ..Track::default()
            });
            tracks.len() - 1
        });
        tracks[index].values.push((now, value));
    }

    /// The lane of the connection whose thread this is.
    fn connection(&mut self, thread: &str) -> usize {
        let connections = &mut self.picture.connections;
        *self.threads.entry(thread.to_owned()).or_insert_with(|| {
            // sqlx numbers its threads from 0 in the order of their start.
            connections.push(Lane {
                name: format!("connection {}", connections.len() + 1),
                ..Lane::default()
            });
            connections.len() - 1
        })
    }
}

/// The lane that a span stands for, or lies in.
fn place<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Place> {
    span.scope()
        .find_map(|span| span.extensions().get::<Place>().copied())
}

impl<S> Layer<S> for Shared
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries talk at DEBUG, and sqlx's statements are none of ours.
        *metadata.level() <= Level::INFO && !metadata.target().starts_with("sqlx")
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if attributes.metadata().target() != LANE {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let place = self.0.at(|state, now| {
            state.last = now;
            let place = state.begin(&fields.name, fields.blocking, now);
            self.0.say(now, state, &fields.name, "begins");
            place
        });
        let mut extensions = span.extensions_mut();
        extensions.insert(place);
        extensions.insert(fields.name);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let span = context.event_span(event);
        let found = span.as_ref().and_then(place);
        let lane = span.as_ref().and_then(|span| {
            span.scope()
                .find_map(|span| span.extensions().get::<String>().cloned())
        });
        let lane = lane.as_deref().unwrap_or(MAIN);
        self.0.at(|state, now| {
            state.last = now;
            match event.metadata().target() {
                END => {
                    let (end, text) = match fields.how.as_str() {
                        "done" => (End::Done, "ends"),
                        "panicked" => (End::Panicked, "panics"),
                        _ => (End::Dropped, "is dropped"),
                    };
                    if let Some(place) = found
                        && let Some(lane) = state.picture.lanes.get_mut(place.lane)
                    {
                        lane.bars[place.bar].to = Some(now);
                        lane.bars[place.bar].end = end;
                    }
                    self.0.say(now, state, lane, text);
                }
                COUNT => state.count(&fields.name, fields.value, now),
                _ => {
                    state.event(found.map(|place| place.lane), now, &fields.message);
                    self.0.say(now, state, lane, &fields.message);
                }
            }
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        let key = (id.into_u64(), thread::current().id());
        self.0.at(|state, now| state.entered.insert(key, now));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let place = context.span(id).as_ref().and_then(place);
        let thread = thread::current();
        let key = (id.into_u64(), thread.id());
        self.0.at(|state, now| {
            let from = state.entered.remove(&key).unwrap_or(now);
            let name = thread.name().unwrap_or_default();
            if name.starts_with(CONNECTION_THREAD) {
                let connection = state.connection(name);
                state.picture.connections[connection].note_busy(from, now);
            } else if let Some(place) = place
                && let Some(lane) = state.picture.lanes.get_mut(place.lane)
            {
                lane.note_busy(from, now);
            }
        });
    }
}

/// The fields that matter here, of a span or an event.
#[derive(Default)]
struct Fields {
    name: String,
    how: String,
    message: String,
    value: u64,
    blocking: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "name" => value.clone_into(&mut self.name),
            "how" => value.clone_into(&mut self.how),
            "message" => value.clone_into(&mut self.message),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "blocking" {
            self.blocking = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "value" {
            self.value = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;
    use tracing::info;
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
            let recorder = Arc::new(Recorder::new(Reports::AtTheEnd));
            let subscriber = Registry::default().with(Shared(recorder.clone()));
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
