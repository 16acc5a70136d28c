//! Calls that never were: who calls whom, over what, and how it ends.

use crate::domain::{
    AccountSid, CallField, CallId, CallSid, CallStatus, Direction, EventTimes, LeftOut, Source,
    StampedEvent, Timestamp,
};
use crate::ops::Failure;
use crate::store::Change;

pub const ACCOUNT: &str = "d0000000-0000-4000-8000-000000000001";

/// What every sample says of itself.
const MARK: &str = "{\"sample\":true}";
/// Numbers of the account, the first called most. Like all others they are of ranges that are kept for made-up
/// numbers.
const OWN: [&str; 5] =
    ["+15550200000", "+15550200001", "+442079460100", "+493023125100", "+15550200004"];
/// How numbers of others begin, and how many digits follow.
const OTHERS: [(&str, u64); 6] = [
    ("+1555010", 4),
    ("+1555010", 4),
    ("+442079460", 3),
    ("+4930231250", 2),
    ("+33199001", 3),
    ("+6125550", 4),
];
const TRUNKS: [&str; 4] = ["carrier-east", "carrier-east", "carrier-west", "office-pbx"];
const APPLICATIONS: [&str; 3] = [
    "a0000000-0000-4000-8000-000000000001",
    "a0000000-0000-4000-8000-000000000002",
    "a0000000-0000-4000-8000-000000000003",
];
const NAMES: [&str; 6] = ["Ada Byron", "Grace", "Karen S.", "Edsger", "Barbara L.", "Tony"];
const HOSTS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// The account of all samples.
pub fn account() -> Result<AccountSid, Failure> {
    ACCOUNT.parse().map_err(|error| Failure::new(format!("{ACCOUNT}: {error}")))
}

/// Numbers that look random, and are the same for the same seed (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        from.get(at).copied()
    }

    /// The lesser of two: so the first are picked most.
    fn early(&mut self, end: u64) -> u64 {
        self.below(end).min(self.below(end))
    }
}

/// A call, its events, and its B leg where it has one.
pub(super) struct SampleCall {
    leg: Leg,
    /// Each status, with the milliseconds since the first.
    story: Vec<(CallStatus, u64)>,
    sip: Option<(u16, &'static str)>,
    begun: Timestamp,
    b_leg: Option<Box<SampleCall>>,
}

/// What all events of a call say.
#[derive(Clone)]
struct Leg {
    sid: CallSid,
    direction: Direction,
    texts: [Option<Box<str>>; CallField::ALL.len()],
}

/// One event.
pub(super) struct Step {
    leg: Leg,
    at: Timestamp,
    status: CallStatus,
    sip: Option<(u16, &'static str)>,
    duration: Option<u32>,
}

/// A sid of sample calls: no two of one begin and number are the same.
fn sid(kind: u8, number: u64, at: Timestamp) -> CallSid {
    let [_, _, .., n1, n0] = number.to_be_bytes();
    let [_, _, t5, t4, t3, t2, t1, t0] = at.millis().to_be_bytes();
    CallSid::from_bytes([0xd0, kind, n1, n0, 0, 0, 0x40, 0, 0x80, 0, t5, t4, t3, t2, t1, t0])
}

impl SampleCall {
    /// A call as it may be, to its end.
    pub fn drawn(number: u64, begun: Timestamp, random: &mut Random) -> Self {
        use CallStatus::{
            Busy, Completed, EarlyMedia, Failed, InProgress, NoAnswer, Ringing, Trying,
        };
        let direction = if random.below(5) < 3 { Direction::Inbound } else { Direction::Outbound };
        let ringing = 300 + random.below(1500);
        let answered = ringing + 2000 + random.below(14_000);
        let talks = 15_000 + random.below(90_000) + random.below(40) * random.below(18_000);
        let outcome = random.below(100);
        let mut story = vec![(Trying, 0), (Ringing, ringing)];
        let mut sip = None;
        match outcome {
            0..70 => {
                if random.below(6) == 0 {
                    story.push((EarlyMedia, ringing + 900));
                }
                story.extend([(InProgress, answered), (Completed, answered + talks)]);
            }
            70..82 => {
                story.push((NoAnswer, ringing + 30_000));
                sip = Some((480, "Temporarily Unavailable"));
            }
            82..91 => {
                story.push((Busy, ringing + 700));
                sip = Some((486, "Busy Here"));
            }
            _ => {
                story.truncate(1);
                story.push((Failed, 400));
                let reasons =
                    [(503, "Service Unavailable"), (404, "Not Found"), (403, "Forbidden")];
                sip = random.pick(&reasons);
            }
        }
        let mut call = Self::of(sid(1, number, begun), begun, direction, random);
        (call.story, call.sip) = (story, sip);
        if outcome < 70 && number.is_multiple_of(4) {
            call.b_leg = Some(Box::new(call.dialled(number, answered, talks, random)));
        }
        call
    }

    /// A call of the last hour.
    pub fn of_story(
        number: u64,
        begun: Timestamp,
        direction: Direction,
        story: &[(CallStatus, u64)],
        random: &mut Random,
    ) -> Self {
        let mut call = Self::of(sid(0, number, begun), begun, direction, random);
        call.story = story.iter().map(|(status, seconds)| (*status, seconds * 1000)).collect();
        call
    }

    fn of(sid: CallSid, begun: Timestamp, direction: Direction, random: &mut Random) -> Self {
        let own = OWN.get(usize::try_from(random.early(OWN.len() as u64)).unwrap_or_default());
        let own = own.copied().unwrap_or_default();
        let (prefix, digits) = random.pick(&OTHERS).unwrap_or_default();
        let width = usize::try_from(digits).unwrap_or_default();
        let other = format!("{prefix}{:0width$}", random.early(10_u64.pow(2)));
        let (from, to) = match direction {
            Direction::Inbound => (other.as_str(), own),
            Direction::Outbound => (own, other.as_str()),
        };
        let mut leg = Leg { sid, direction, texts: Default::default() };
        let host = random.pick(&HOSTS).unwrap_or_default();
        leg.put(CallField::CallId, format!("{}@{host}", &sid.to_string()));
        leg.put(CallField::From, from);
        leg.put(CallField::To, to);
        leg.put(CallField::ServiceUrl, format!("http://{host}:3000"));
        leg.put(CallField::ApplicationSid, random.pick(&APPLICATIONS).unwrap_or_default());
        leg.put(CallField::OriginatingSipTrunkName, random.pick(&TRUNKS).unwrap_or_default());
        if direction == Direction::Inbound && random.below(3) == 0 {
            leg.put(CallField::CallerName, random.pick(&NAMES).unwrap_or_default());
        }
        Self { leg, story: Vec::new(), sip: None, begun, b_leg: None }
    }

    /// The leg to the one who is dialled once this one is answered.
    fn dialled(&self, number: u64, answered: u64, talks: u64, random: &mut Random) -> Self {
        use CallStatus::{Completed, InProgress, Ringing, Trying};
        let begun = self.begun.plus_millis(answered + 400);
        let mut call = Self::of(sid(2, number, begun), begun, Direction::Outbound, random);
        call.leg.put(CallField::ParentCallSid, self.leg.sid.to_string());
        let rings = 900 + random.below(4000);
        let ends = talks.saturating_sub(400).max(rings + 1000);
        call.story = vec![(Trying, 0), (Ringing, 500), (InProgress, rings), (Completed, ends)];
        call
    }

    /// Its events and those of its B leg, each with its time in milliseconds.
    pub fn steps(&self) -> Vec<(u64, Step)> {
        let answered = self.story.iter().find(|(status, _)| *status == CallStatus::InProgress);
        let step = |(status, after): &(CallStatus, u64)| {
            let at = self.begun.plus_millis(*after);
            let is_last = status.rank() == crate::domain::Rank::Terminal;
            let seconds = answered.map(|(_, from)| after.saturating_sub(*from) / 1000);
            let duration = seconds.filter(|_| is_last).and_then(|seconds| seconds.try_into().ok());
            let sip = self.sip.filter(|_| is_last);
            let step = Step { leg: self.leg.clone(), at, status: *status, sip, duration };
            (at.millis(), step)
        };
        let own = self.story.iter().map(step);
        own.chain(self.b_leg.iter().flat_map(|call| call.steps())).collect()
    }
}

impl Leg {
    fn put(&mut self, field: CallField, text: impl Into<Box<str>>) {
        if let Some(place) = self.texts.get_mut(field as usize) {
            *place = Some(text.into());
        }
    }
}

impl Step {
    /// The end of a call that was left by an earlier start.
    pub fn end_of(sid: CallSid, direction: Direction, status: CallStatus, at: Timestamp) -> Self {
        let leg = Leg { sid, direction, texts: Default::default() };
        Self { leg, at, status, sip: None, duration: None }
    }

    #[cfg(test)]
    pub fn sid(&self) -> CallSid {
        self.leg.sid
    }

    #[cfg(test)]
    pub fn status(&self) -> CallStatus {
        self.status
    }

    /// The same at another time.
    pub fn at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    pub fn change(self, account: AccountSid) -> Change {
        let Leg { sid, direction, texts } = self.leg;
        let (sip_status, sip_reason) = self.sip.unzip();
        Change::Event(Box::new(StampedEvent {
            id: CallId { account, sid },
            source: Source::Webhook,
            stamp: EventTimes::live(self.at, Some(self.status)),
            status: Some(self.status),
            sip_status,
            sip_reason: sip_reason.map(Into::into),
            duration: self.duration,
            direction,
            texts,
            extras: vec![("customer_data".into(), MARK.into())],
            left_out: LeftOut::default(),
            unread: Vec::new(),
        }))
    }
}
