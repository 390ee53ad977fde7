//! Points in time, always UTC, to the second.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};

use super::Invalid;

const RULE: Invalid = Invalid(
    "a time in UTC as YYYY-MM-DD HH:MM:SS, or a day as YYYY-MM-DD, such as 2024-03-18 10:30:00",
);

/// A UTC time of the years 0000 to 9999. Its text, `YYYY-MM-DD HH:MM:SS`,
/// sorts as time does; the database and the wire both use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime(DateTime);

impl UtcTime {
    /// The time on this computer's clock, cut to the second.
    pub fn now() -> Self {
        Self::from_timestamp(Timestamp::now())
    }

    /// `seconds` after 1970-01-01 00:00:00, or `None` beyond the year 9999.
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        Timestamp::from_second(seconds)
            .ok()
            .map(Self::from_timestamp)
            .filter(|time| time.0.year() >= 0)
    }

    fn from_timestamp(timestamp: Timestamp) -> Self {
        let time = TimeZone::UTC.to_datetime(timestamp);
        Self(time.date().at(time.hour(), time.minute(), time.second(), 0))
    }
}

impl FromStr for UtcTime {
    type Err = Invalid;

    /// Reads `YYYY-MM-DD HH:MM:SS`, or `YYYY-MM-DD` for that day's midnight;
    /// exactly these, with every digit, and only times that exist.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = text.as_bytes();
        let time = match bytes.len() {
            10 => date(bytes)?.at(0, 0, 0, 0),
            19 => {
                let (day, clock) = bytes.split_at(10);
                let [b' ', h1, h2, b':', m1, m2, b':', s1, s2] = *clock else {
                    return Err(RULE);
                };
                let clock = jiff::civil::Time::new(two(h1, h2)?, two(m1, m2)?, two(s1, s2)?, 0)
                    .map_err(|_| RULE)?;
                date(day)?.to_datetime(clock)
            }
            _ => return Err(RULE),
        };
        Ok(Self(time))
    }
}

fn date(bytes: &[u8]) -> Result<Date, Invalid> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *bytes else {
        return Err(RULE);
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    Date::new(year, two(m1, m2)?, two(d1, d2)?).map_err(|_| RULE)
}

/// The number that two ASCII digits write.
fn two(tens: u8, ones: u8) -> Result<i8, Invalid> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok(((tens - b'0') * 10 + (ones - b'0')).cast_signed())
    } else {
        Err(RULE)
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_midnight() {
        let day: UtcTime = "2024-03-18".parse().unwrap();
        assert_eq!(day.to_string(), "2024-03-18 00:00:00");
    }

    #[test]
    fn what_it_writes_it_reads_and_text_sorts_as_time() {
        // About 26,000 times over 8,000 years, each an odd number of seconds
        // after the last, so that every part of the clock is met.
        let mut seconds = -62_167_219_200; // 0000-01-01
        let mut before: Option<(UtcTime, String)> = None;
        while let Some(time) = UtcTime::from_unix_seconds(seconds) {
            let text = time.to_string();
            assert_eq!(text.len(), 19, "{text}");
            assert_eq!(text.parse::<UtcTime>().as_ref(), Ok(&time));
            if let Some((earlier, earlier_text)) = before {
                assert!(earlier < time && earlier_text < text, "{text}");
            }
            before = Some((time, text));
            seconds += 12_000_001;
        }
        let (_, last) = before.unwrap();
        assert!(last.starts_with("9999-"), "{last}");
    }

    #[test]
    fn refuses_what_is_not_exactly_a_time() {
        for text in [
            "",
            "2024",
            "2024-3-18",
            "2024-03-18T10:30:00",
            "2024-03-18 10:30",
            "2024-03-18 10:30:00Z",
            "2024-03-18  0:30:00",
            " 2024-03-18",
            "2024-02-30",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-03-18 24:00:00",
            "2024-03-18 10:60:00",
            "2024-03-18 10:30:60",
            "+024-03-18",
            "20240318",
            "2024-03-18 10:30:0x",
            "２０２４",
            "now",
            "9999999999",
            "1'; DROP TABLE orders",
        ] {
            assert_eq!(text.parse::<UtcTime>(), Err(RULE), "{text}");
        }
        // Any single wrong character spoils a right one.
        let right = "2024-03-18 10:30:00";
        for place in 0..right.len() {
            for wrong in ["x", "/", "-1", "", "é"] {
                let mut text = right.to_owned();
                text.replace_range(place..=place, wrong);
                assert_eq!(text.parse::<UtcTime>(), Err(RULE), "{text}");
            }
        }
    }

    #[test]
    fn leap_days_exist_when_they_do() {
        assert!("2024-02-29".parse::<UtcTime>().is_ok());
        assert!("2000-02-29".parse::<UtcTime>().is_ok());
        assert!("1900-02-29".parse::<UtcTime>().is_err());
    }
}
