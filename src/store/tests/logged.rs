//! Nodes that apply the same log are the same, whatever each of them does beside it.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::applied::BEGIN;
use super::placing::{cdr, waiting, webhook};
use super::same::{KnownCall, known};
use super::*;
use crate::access::{
    Account, ClusterSettings, Replaces, Role, SettingRow, Token, TokenHash, TokenScope, row_digest,
    token_row_name,
};
use crate::codec;
use crate::journal::{FrameKind, Scanner};
use crate::keys::derived;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * HOUR_MILLIS;
const ACCOUNTS: u8 = 3;
const CALLS: u8 = 4;
/// Two that have the same checksum, and another, of which one account has the sid that another says.
const CALL_IDS: [&str; 3] = ["4ca3a936-2226@sbc", "39a30572-837b@sbc", "x"];
/// Minutes that a clock is wrong at most, where it is not wrong by days.
const SKEW: u64 = 600;
const DAYS: u64 = 6000;
/// Minutes that there are between the submissions of a message at most: all of it is less than a day.
const TOGETHER: u64 = 700;

/// What a node took, and when, in minutes.
#[derive(Debug, Clone)]
struct Taken {
    /// Since the one before it.
    later: u64,
    /// How far its node's clock is behind, and [`SKEW`].
    skew: u64,
    changes: Vec<Drawn>,
}

/// What a change of a setting is to find there.
#[derive(Debug, Clone, Copy)]
enum Expects {
    Anything,
    Nothing,
    Kept(u8),
}

fn expects() -> impl Strategy<Value = Expects> {
    prop_oneof![
        2 => Just(Expects::Anything),
        1 => Just(Expects::Nothing),
        1 => (0..3_u8).prop_map(Expects::Kept),
    ]
}

#[derive(Debug, Clone)]
enum Drawn {
    Webhook {
        n: u8,
        call: u8,
        call_id: usize,
        status: CallStatus,
        direction: Direction,
        at: u64,
    },
    Cdr {
        n: u8,
        call: Option<u8>,
        call_id: usize,
        status: CallStatus,
    },
    /// One whose sid is none of jambonz.
    StrangeCdr {
        n: u8,
        call_id: usize,
    },
    Record {
        n: u8,
        call: u8,
        namesake: bool,
        status: CallStatus,
        at: u64,
    },
    Imported {
        n: u8,
        call: u8,
        status: CallStatus,
        at: u64,
    },
    Delete {
        n: u8,
        call: u8,
    },
    DeleteDerived {
        n: u8,
        call_id: usize,
    },
    Expire {
        n: u8,
        call: u8,
    },
    Stale {
        n: u8,
        call: u8,
        before: u64,
    },
    Place {
        n: u8,
        call_id: usize,
        due: bool,
    },
    Used {
        token: u8,
        at: Option<u64>,
    },
    Lifetime {
        minutes: u64,
    },
    Setting {
        n: u8,
        keep: u8,
        expects: Expects,
    },
    Forward {
        n: u8,
        call: u8,
    },
}

/// What a node does beside what it applies.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nothing,
    Checkpoint,
    Pack(Depth),
    Seal,
    Compact,
    IndexFails,
    Rebuild,
    /// Keeps the message that comes so many after the next one.
    Keep(u8),
    Reopen {
        crash: bool,
        rebuild: bool,
        registry_calls: usize,
        segment_bytes: u64,
        history_millis: u64,
        live_millis: u64,
    },
}

fn taken() -> impl Strategy<Value = Taken> {
    let (n, call, id) = (1..=ACCOUNTS, 1..=CALLS, 0..CALL_IDS.len());
    let status = || select(CallStatus::ALL.to_vec());
    let drawn = prop_oneof![
        6 => (n.clone(), call.clone(), id.clone(), status(), select(Direction::ALL.to_vec()), 0..40_u64)
            .prop_map(|(n, call, call_id, status, direction, at)| {
                Drawn::Webhook { n, call, call_id, status, direction, at }
            }),
        3 => (n.clone(), prop::option::weighted(0.3, call.clone()), id.clone(), status())
            .prop_map(|(n, call, call_id, status)| Drawn::Cdr { n, call, call_id, status }),
        1 => (n.clone(), id.clone()).prop_map(|(n, call_id)| Drawn::StrangeCdr { n, call_id }),
        1 => (n.clone(), call.clone(), any::<bool>(), status(), 0..40_u64)
            .prop_map(|(n, call, namesake, status, at)| {
                Drawn::Record { n, call, namesake, status, at }
            }),
        1 => (n.clone(), call.clone(), status(), 0..40_u64)
            .prop_map(|(n, call, status, at)| Drawn::Imported { n, call, status, at }),
        3 => (n.clone(), call.clone()).prop_map(|(n, call)| Drawn::Delete { n, call }),
        1 => (n.clone(), id.clone()).prop_map(|(n, call_id)| Drawn::DeleteDerived { n, call_id }),
        1 => (n.clone(), call.clone()).prop_map(|(n, call)| Drawn::Expire { n, call }),
        1 => (n.clone(), call.clone(), 0..40_u64)
            .prop_map(|(n, call, before)| Drawn::Stale { n, call, before }),
        2 => (n.clone(), id, any::<bool>())
            .prop_map(|(n, call_id, due)| Drawn::Place { n, call_id, due }),
        1 => (0..2_u8, prop::option::weighted(0.8, 0..5_u64))
            .prop_map(|(token, at)| Drawn::Used { token, at }),
        1 => select(vec![5, 10, 2000]).prop_map(|minutes| Drawn::Lifetime { minutes }),
        1 => (n.clone(), 0..3_u8, expects())
            .prop_map(|(n, keep, expects)| Drawn::Setting { n, keep, expects }),
        1 => (n, call).prop_map(|(n, call)| Drawn::Forward { n, call }),
    ];
    let later = prop_oneof![3 => 0..8_u64, 1 => Just(30), 1 => Just(1500)];
    let skew = prop_oneof![20 => Just(SKEW), 10 => 0..2 * SKEW, 1 => Just(DAYS)];
    (later, skew, vec(drawn, 1..5)).prop_map(|(later, skew, changes)| Taken {
        later,
        skew,
        changes,
    })
}

fn beside() -> impl Strategy<Value = Beside> {
    let reopen = (
        any::<bool>(),
        any::<bool>(),
        select(vec![12, 1000]),
        select(vec![2_u64 << 10, 1 << 20]),
        select(vec![0, 1000 * DAY]),
        select(vec![0, HOUR_MILLIS]),
    );
    prop_oneof![
        4 => Just(Beside::Nothing),
        2 => Just(Beside::Checkpoint),
        2 => select(vec![Depth::Usual, Depth::Thorough, Depth::Erase]).prop_map(Beside::Pack),
        1 => Just(Beside::Seal),
        1 => Just(Beside::Compact),
        1 => Just(Beside::IndexFails),
        1 => Just(Beside::Rebuild),
        1 => (0..4_u8).prop_map(Beside::Keep),
        2 => reopen.prop_map(|drawn| {
            let (crash, rebuild, registry_calls, segment_bytes, ..) = drawn;
            let (.., history_millis, live_millis) = drawn;
            Beside::Reopen {
                crash,
                rebuild,
                registry_calls,
                segment_bytes,
                history_millis,
                live_millis,
            }
        }),
    ]
}

/// Long ago: by this machine's clock every deletion is old.
fn begin() -> Timestamp {
    static BEGIN: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BEGIN.get_or_init(|| clock::now().minus_millis(300 * DAY))
}

fn setting(n: u8, keep: u8) -> SettingRow {
    let account = Account { name: Some(format!("{keep}")), ..Account::new(account(n)) };
    let json = serde_json::to_vec(&account).unwrap();
    SettingRow { name: format!("account/{}", account.account_sid), json }
}

fn change(drawn: &Drawn) -> Change {
    let told = |event: StampedEvent| Change::Event(Box::new(event));
    match *drawn {
        Drawn::Webhook { n, call, call_id, status, direction, at } => {
            let mut event = webhook(n, call, CALL_IDS[call_id], status, at);
            event.direction = direction;
            told(event)
        }
        Drawn::Cdr { n, call, call_id, status } => {
            told(cdr(n, call.map(|call| id(n, call).sid), CALL_IDS[call_id], status))
        }
        Drawn::StrangeCdr { n, call_id } => {
            let strange = derived(account(1), CALL_IDS[2]).sid;
            told(cdr(n, Some(strange), CALL_IDS[call_id], CallStatus::Busy))
        }
        Drawn::Record { n, call, namesake, status, at } => {
            let event = webhook(n, call, CALL_IDS[0], status, at);
            Change::Record(Arc::new(Call { namesake, ..merge(None, event, begin()) }))
        }
        Drawn::Imported { n, call, status, at } => {
            let mut event = webhook(n, call, CALL_IDS[1], status, at);
            event.source = Source::Import;
            Change::Imported(Box::new(event))
        }
        Drawn::Delete { n, call } => Change::Delete(id(n, call)),
        Drawn::DeleteDerived { n, call_id } => {
            Change::Delete(derived(account(n), CALL_IDS[call_id]))
        }
        Drawn::Expire { n, call } => Change::Expire(id(n, call)),
        Drawn::Stale { n, call, before } => Change::Stale(id(n, call), placing::time(before)),
        Drawn::Place { n, call_id, due } => {
            Change::PlaceCdr { id: derived(account(n), CALL_IDS[call_id]), due }
        }
        Drawn::Used { token, at } => {
            let json = at.map(|at| at.to_string().into_bytes()).unwrap_or_default();
            Change::Admin(SettingRow { name: format!("used/{token}"), json }, Replaces::Anything)
        }
        Drawn::Lifetime { minutes } => lifetime(minutes),
        Drawn::Setting { n, keep, expects } => {
            let replaces = match expects {
                Expects::Anything => Replaces::Anything,
                Expects::Nothing => Replaces::Nothing,
                Expects::Kept(keep) => {
                    Replaces::Content(row_digest(&setting(n, keep).json).unwrap())
                }
            };
            Change::Admin(setting(n, keep), replaces)
        }
        Drawn::Forward { n, call } => Change::Forward(Arc::new(Hook {
            account: account(n),
            applications: None,
            calls: vec![id(n, call).sid],
            content_type: b"application/json".to_vec(),
            b3: Vec::new(),
            body: b"{}".to_vec().into(),
            origin: None,
        })),
    }
}

/// A message: when it was logged, and its submissions.
type Message = (Timestamp, Vec<(Timestamp, Vec<Change>)>);

fn lifetime(minutes: u64) -> Change {
    let settings = ClusterSettings { max_lifetime_millis: minutes * MINUTE, forgotten_before: 0 };
    Change::Admin(settings.row(), Replaces::Anything)
}

/// The messages of a log, so many submissions in each in turn. It may begin with how long a call lives.
fn messages(minutes: Option<u64>, taken: &[Taken], packing: &[usize]) -> Vec<Message> {
    let mut now = begin();
    let said = minutes.map(|minutes| (now, (now, vec![lifetime(minutes)])));
    let mut submissions: Vec<_> = said.into_iter().collect();
    for one in taken {
        now = now.plus_millis(one.later * MINUTE);
        let at = now.plus_millis(SKEW * MINUTE).minus_millis(one.skew * MINUTE);
        submissions.push((now, (at, one.changes.iter().map(change).collect())));
    }
    let (mut rest, mut packing, mut packed) =
        (&submissions[..], packing.iter().cycle(), Vec::new());
    while !rest.is_empty() {
        let (first, size) = (rest[0].0, *packing.next().unwrap());
        let together = |(at, _): &&(Timestamp, _)| *at <= first.plus_millis(TOGETHER * MINUTE);
        let size = rest.iter().take(size).take_while(together).count();
        let (some, more) = rest.split_at(size);
        let logged_at = some.last().map_or(now, |(logged_at, _)| *logged_at);
        packed.push((logged_at, some.iter().map(|(_, submission)| submission.clone()).collect()));
        rest = more;
    }
    packed
}

fn hand_over(store: &Store, seq: u64, (logged_at, submissions): &Message) -> ApplyTicket {
    let bodies: Vec<_> = submissions
        .iter()
        .map(|(at, changes)| codec::encode_submission(&logged(changes, *at), 1).unwrap())
        .collect();
    let bytes = codec::assemble("node1", [u8::try_from(seq).unwrap(); 16], &bodies);
    let position = LogPosition { seq, crc: crc32c::crc32c(&bytes), ..BEGIN };
    let message = codec::decode_message(&bytes).unwrap();
    let message = AppliedMessage { position, logged_at: *logged_at, message };
    store.apply_message(message).unwrap()
}

/// The answer, once the index has been built again where that is needed. CDRs that wait stay in memory.
fn patient<T>(store: &Store, mut ask: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut found = None;
    until("the index is built again", || match ask() {
        Ok(answer) => {
            found = Some(answer);
            true
        }
        Err(StoreError::IndexUnavailable(..)) => {
            store.shared.checkpointer.wake();
            false
        }
        Err(error) => panic!("{error}"),
    });
    found.unwrap()
}

/// All that a node knows: calls as they are stored, CDRs that wait, and settings; and how nodes compare.
type State = (Vec<KnownCall>, Vec<(String, Vec<u8>)>, content::Content);

fn state(store: &Store) -> State {
    // Settings may be anywhere but in the index.
    patient(store, || store.shared.checkpoint_now());
    let calls = known(store);
    let rows = store.shared.view.index().unwrap().admin_rows().unwrap();
    let rows = rows.into_iter().map(|row| (row.name, row.json)).collect();
    (calls, rows, store.content().unwrap())
}

struct Node {
    home: tempfile::TempDir,
    round: usize,
    options: Options,
    store: Option<Store>,
    /// The ids of messages that it has kept.
    kept: BTreeSet<[u8; 16]>,
}

impl Node {
    /// Nothing that a node is configured to decides what a message does.
    fn new(taken_cdrs: bool, lifetime_minutes: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let cdrs = CdrOptions { taken: taken_cdrs, wait_millis: 400 * DAY };
        let options = Options {
            max_lifetime_millis: lifetime_minutes * MINUTE,
            cdrs,
            // An index that has failed is built again in several turns of the checkpointer.
            checkpoint_interval: Duration::from_millis(20),
            sync: false,
            ..options(&home.path().join("0"))
        };
        let store = open(options.clone());
        store.begin_log(BEGIN).unwrap();
        Self { home, round: 0, options, store: Some(store), kept: BTreeSet::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self, crash: bool, rebuild: bool) {
        let store = self.store.take().unwrap();
        if crash {
            self.round += 1;
            let image = self.home.path().join(self.round.to_string());
            fs::create_dir(&image).unwrap();
            let still = store.shared.index_writer.lock();
            crash_image(&store, &image);
            drop(still);
            self.options.data_dir = image;
        } else {
            store.close().unwrap();
        }
        drop(store);
        self.store = Some(open(Options { rebuild, ..self.options.clone() }));
    }

    /// `next` is the message that comes next.
    fn beside(&mut self, beside: Beside, next: u64) {
        let store = self.store();
        match beside {
            Beside::Nothing => {}
            Beside::Checkpoint => patient(store, || store.shared.checkpoint_now()),
            Beside::Pack(depth) => {
                patient(store, || store.collect(depth));
                store.shared.forgotten.store(true, Ordering::Release);
                patient(store, || store.shared.checkpoint_now());
            }
            Beside::Seal => {
                let _sealed = checkpoint::seal(&store.shared, clock::now(), 100, false);
            }
            Beside::Compact => {
                let _compacted = store.compact(&mut |_| {});
            }
            Beside::Rebuild => {
                let _rebuilt = store.rebuild(&mut |_| {});
            }
            Beside::Keep(more) => {
                let id = [u8::try_from(next).unwrap() + more; 16];
                store.keep(id, b"it".as_slice().into()).unwrap().wait().unwrap();
                self.kept.insert(id);
            }
            Beside::IndexFails => {
                store.shared.view.set_index(Err("on purpose".to_owned()));
                store.shared.checkpointer.wake();
            }
            Beside::Reopen {
                crash,
                rebuild,
                registry_calls,
                segment_bytes,
                history_millis,
                live_millis,
            } => {
                until("the index is built again", || {
                    store.shared.checkpointer.wake();
                    store.ready().is_ok()
                });
                (self.options.registry_calls, self.options.segment_bytes) =
                    (registry_calls, segment_bytes);
                self.options.retention.history_millis = history_millis;
                self.options.live_checkpoint_age_millis = live_millis;
                self.reopen(crash, rebuild);
            }
        }
    }
}

/// What a message has written to the journal, the frame that ends it with it: kinds, times and contents.
type Written = Vec<(FrameKind, Timestamp, Vec<u8>)>;

/// What messages have written after this sequence number, in their order.
fn written_after(store: &Store, after: u64) -> Vec<Written> {
    let (mut messages, mut message) = (Vec::new(), Written::new());
    for segment in store.segments() {
        let mut scanner = Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            let is_own = matches!(frame.kind, FrameKind::Checkpoint | FrameKind::Kept);
            if frame.seq <= after || is_own {
                continue;
            }
            let ends = frame.kind == FrameKind::Applied;
            // That it was kept is of this node alone.
            let body = if ends { &frame.body[..37] } else { frame.body };
            message.push((frame.kind, frame.at, body.to_vec()));
            if ends {
                messages.push(std::mem::take(&mut message));
            }
        }
    }
    assert!(message.is_empty(), "{message:?}");
    messages
}

fn last_seq(store: &Store) -> u64 {
    store.shared.view.registry.read().last_seq()
}

/// What a node knows that does nothing beside, the outcome of each submission, and what each message has written.
fn alone(messages: &[Message]) -> (State, Vec<SubmissionOutcome>, Vec<Written>) {
    let node = Node::new(true, 10);
    let begun = last_seq(node.store());
    let apply = |(seq, message)| hand_over(node.store(), seq, message).wait().unwrap();
    let outcomes: Vec<_> = (1..).zip(messages).flat_map(apply).collect();
    let written = written_after(node.store(), begun);
    (state(node.store()), outcomes, written)
}

/// What an admin does, looking at what there is.
#[derive(Debug, Clone, Copy)]
enum Command {
    Pause(bool),
    Make(u8),
    Revoke(u8),
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<bool>().prop_map(Command::Pause),
        (0..3_u8).prop_map(Command::Make),
        (0..3_u8).prop_map(Command::Revoke),
    ]
}

fn token_row(id: u8) -> SettingRow {
    let token = Token {
        id: id.to_string(),
        name: None,
        scope: TokenScope::Admin,
        role: Role::Full,
        hash: TokenHash::of(&id.to_string()),
        created_at: 0,
        expires_at: None,
    };
    let json = serde_json::to_vec(&token).unwrap();
    SettingRow { name: token_row_name(Role::Full, &token.id), json }
}

fn token(id: u8) -> Change {
    Change::Admin(token_row(id), Replaces::Nothing)
}

fn cases() -> u32 {
    std::env::var("LOGGED_CASES").map_or(64, |text| text.parse().unwrap())
}

fn shown(state: &State) -> String {
    let call = |(id, bytes, waits): &KnownCall| (*id, codec::decode(bytes).unwrap(), *waits);
    let rows = state.1.iter().map(|(name, json)| (name, String::from_utf8_lossy(json)));
    let calls = state.0.iter().map(call).collect::<Vec<_>>();
    format!("{calls:#?}\n{:?}", rows.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// `LOGGED_CASES` says how many logs there are.
    #[test]
    fn nodes_that_apply_the_same_log_are_the_same(
        minutes in prop::option::weighted(0.8, select(vec![5, 10])),
        taken in vec(taken(), 1..40),
        packing in vec(1..4_usize, 1..5),
        other in vec(1..6_usize, 1..5),
        beside in vec(beside(), 1..12),
        bursts in vec(1..6_usize, 1..5),
    ) {
        let log = messages(minutes, &taken, &packing);
        let (expected, outcomes, written) = alone(&log);
        prop_assert_eq!(written.len(), log.len());
        // In messages of another size, unless some are so late that the time of the message counts.
        if taken.iter().all(|one| one.skew < DAYS) {
            let (again, same, _) = alone(&messages(minutes, &taken, &other));
            prop_assert!(again == expected, "{}\nbut\n{}", shown(&again), shown(&expected));
            prop_assert_eq!(&same, &outcomes);
        }
        // While much happens beside, some messages at once.
        let mut node = Node::new(false, 3000);
        let (mut rest, mut told) = ((1_u64..).zip(&log).collect::<Vec<_>>(), Vec::new());
        let (mut beside, mut bursts) = (beside.iter().cycle(), bursts.iter().cycle());
        while !rest.is_empty() {
            let more = rest.split_off((*bursts.next().unwrap()).min(rest.len()));
            let (begun, before) = (last_seq(node.store()), log.len() - more.len() - rest.len());
            let tickets: Vec<_> =
                rest.iter().map(|(seq, message)| hand_over(node.store(), *seq, message)).collect();
            // It happens while they are applied.
            let (next, seq) = (*beside.next().unwrap(), (log.len() - more.len()) as u64 + 1);
            if !matches!(next, Beside::Reopen { .. }) {
                node.beside(next, seq);
            }
            for ticket in tickets {
                told.extend(ticket.wait().unwrap());
            }
            // What is packed at once may be gone already.
            if !matches!(next, Beside::Pack(_)) {
                let found = written_after(node.store(), begun);
                prop_assert_eq!(&found[..], &written[before..before + rest.len()]);
            }
            if matches!(next, Beside::Reopen { .. }) {
                node.beside(next, seq);
            }
            rest = more;
        }
        prop_assert_eq!(&told, &outcomes);
        let last = node.store().position().map(|position| position.seq);
        prop_assert_eq!(last, Some(log.len() as u64));
        for start in 0..3 {
            let found = state(node.store());
            prop_assert!(found == expected, "start {}: {}\nbut\n{}", start, shown(&found), shown(&expected));
            let kept = node.kept.iter().filter(|id| usize::from(id[0]) > log.len()).count();
            prop_assert_eq!(node.store().kept().count, kept as u64);
            assert_sound(node.store());
            node.reopen(start == 0, start == 1);
        }
    }

    /// A command that comes once more, after others, does nothing: what it replaces is not there again.
    #[test]
    fn commands_that_come_again_change_nothing(
        commands in vec(command(), 1..16),
        again in vec(any::<prop::sample::Index>(), 1..16),
    ) {
        let node = Node::new(true, 10);
        let (store, mut log) = (node.store(), Vec::new());
        let mut made = BTreeSet::new();
        for command in commands {
            let change = match command {
                Command::Pause(paused) => store.forward_state(paused),
                // The id of a token is drawn for it alone.
                Command::Make(id) if made.insert(id) => token(id),
                Command::Make(_) => continue,
                Command::Revoke(id) => Change::setting(SettingRow { json: Vec::new(), ..token_row(id) }),
            };
            log.push((begin(), vec![(begin(), vec![change])]));
            hand_over(store, log.len() as u64, &log[log.len() - 1]).wait().unwrap();
        }
        let expected = state(store).1;
        for (seq, place) in (log.len() as u64 + 1..).zip(again) {
            if let Some(message) = log.get(place.index(log.len().max(1))) {
                hand_over(store, seq, message).wait().unwrap();
            }
            prop_assert_eq!(&state(store).1, &expected);
        }
    }

    /// Where nothing is deleted, the order of messages does not matter, nor how often they come.
    #[test]
    fn the_order_of_messages_and_their_repetition_do_not_matter(
        changes in Just([placing::heard(), placing::heard()].concat()).prop_shuffle(),
        packing in vec((1..4_usize, 1..4_usize), 1..5),
    ) {
        let sizes = [(1, 1)];
        let expected = placed(&placing::heard(), &sizes);
        prop_assert_eq!(expected.len(), 4);
        prop_assert_eq!(placed(&changes, &packing), expected);
    }
}

/// The calls that come of changes, so many in a submission and so many submissions in a message in turn.
fn placed(changes: &[Change], packing: &[(usize, usize)]) -> Vec<Call> {
    let node = Node::new(true, 10);
    let store = node.store();
    let (mut rest, mut packing, mut seq) = (changes, packing.iter().cycle(), 0);
    while !rest.is_empty() {
        let (size, count) = *packing.next().unwrap();
        let (some, more) = rest.split_at((size * count).min(rest.len()));
        let submissions = some.chunks(size).map(|changes| (begin(), changes.to_vec()));
        seq += 1;
        hand_over(store, seq, &(begin(), submissions.collect())).wait().unwrap();
        rest = more;
    }
    let due: Vec<_> = {
        let registry = store.shared.view.registry.read();
        registry.all_waiting().map(|(id, _)| Change::PlaceCdr { id, due: true }).collect()
    };
    hand_over(store, seq + 1, &(begin(), vec![(begin(), due)])).wait().unwrap();
    assert_eq!(waiting(store), 0);
    let mut calls: Vec<Call> = placing::all(store, 1).iter().map(|call| (**call).clone()).collect();
    calls.sort_by_key(|call| call.id);
    for call in &mut calls {
        // Fixed when the call was registered.
        call.listed_at = Timestamp::default();
    }
    calls
}
