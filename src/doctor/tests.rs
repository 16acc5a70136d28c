//! Findings that cannot be provoked on any machine, and where each begins.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::disk::Disk;
use super::rights::{User, UserTable};
use super::{
    Finding, Level, Surroundings, certificate, clock, console, disk, hooks, limits, outbound,
    tokens, unit,
};
use crate::access::Role;
use crate::config::{Config, Settings};
use crate::ops::{
    AccountHooks, CertificateInfo, CertificateRole, ConsoleFigures, HookFigures, Refusals,
    TokenInfo, UnregisteredAccount,
};

const DAY_S: u64 = 86_400;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn levels(findings: &[Finding]) -> Vec<Level> {
    findings.iter().map(|finding| finding.level).collect()
}

#[test]
fn a_clock_that_cannot_be_right_is_found() {
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    let minute = Duration::from_mins(1);
    for (now, newest, drift, expected, says) in [
        (now(), Some(now() + minute), Some(100), Level::Ok, "2027-01-15"),
        (at(0), None, None, Level::Error, "before this release"),
        (at(1_793_000_000), None, None, Level::Error, "before this release"),
        (at(9_000_000_000), None, None, Level::Warn, "far in the future"),
        (now(), Some(now() + 3 * minute), None, Level::Error, "the data was written at"),
        (now(), None, Some(3600), Level::Warn, "set forward by 1h"),
        (now(), None, Some(-3600), Level::Warn, "set back by 1h"),
    ] {
        let findings = clock::judge(now, newest, drift);
        assert_eq!(levels(&findings), [expected], "{findings:?}");
        assert!(findings[0].problem.contains(says), "{findings:?}");
    }
}

#[test]
fn a_disk_without_room_or_of_a_kind_that_forgets_is_found() {
    const MIB: u64 = 1 << 20;
    let good = || Disk {
        kind: 0xef53,
        free_bytes: 1000 * MIB,
        read_only: false,
        free_files: Some(1_000_000),
        used: Some((5000 * MIB, 500 * MIB)),
        segment_bytes: 64 * MIB,
        least_bytes: 0,
        reserve: Some(true),
    };
    let found = |disk: Disk| disk::judge("disk", &disk);
    let ok = found(good());
    assert_eq!(levels(&ok), [Level::Ok], "{ok:?}");
    assert_eq!(levels(&found(Disk { free_files: None, ..good() })), [Level::Ok]);
    let tight = found(Disk { free_bytes: 563 * MIB, ..good() });
    assert_eq!(levels(&tight), [Level::Warn], "{tight:?}");
    assert!(tight[0].problem.contains("rebuild of the index needs 591.4 MB"), "{tight:?}");
    let full = found(Disk { free_bytes: 63 * MIB, ..good() });
    assert_eq!(levels(&full), [Level::Error], "{full:?}");
    let closed = found(Disk { read_only: true, ..good() });
    assert_eq!(levels(&closed), [Level::Error], "{closed:?}");
    assert!(closed[0].problem.contains("mounted read-only"), "{closed:?}");
    let low = found(Disk { least_bytes: 1001 * MIB, ..good() });
    assert_eq!(levels(&low), [Level::Error], "{low:?}");
    assert!(low[0].problem.contains("less than store.min_free_bytes (1.0 GB)"), "{low:?}");
    let bare = found(Disk { reserve: Some(false), ..good() });
    assert_eq!(levels(&bare), [Level::Warn], "{bare:?}");
    assert_eq!(levels(&found(Disk { reserve: None, ..good() })), [Level::Ok]);
    let files = found(Disk { free_files: Some(999), ..good() });
    assert_eq!(levels(&files), [Level::Warn], "{files:?}");
    for (kind, name) in [(0x0102_1994, "tmpfs"), (0x794c_7630, "overlayfs"), (0x6969, "nfs")] {
        let strange = found(Disk { kind, ..good() });
        assert_eq!(levels(&strange), [Level::Warn]);
        assert!(strange[0].problem.contains(name), "{strange:?}");
    }
}

#[test]
fn too_few_open_files_and_too_short_a_queue_are_found() {
    assert_eq!(levels(&limits::judge("it", 4352, 4096, 1, 256)), [Level::Ok]);
    let few = limits::judge("it", 4351, 4096, 1, 256);
    assert_eq!(levels(&few), [Level::Warn], "{few:?}");
    assert!(few[0].advice.as_ref().unwrap().contains("LimitNOFILE=4352"), "{few:?}");
    assert_eq!(levels(&limits::judge("it", 4352, 4096, 2, 256)), [Level::Warn]);
    assert_eq!(limits::judge_waiting(2000).level, Level::Ok);
    let narrow = limits::judge_waiting(128);
    assert_eq!(narrow.level, Level::Warn);
    assert!(narrow.advice.unwrap().contains("net.core.somaxconn=4096"), "{}", narrow.problem);
}

fn info(part: CertificateRole, made: bool, days_left: i64) -> CertificateInfo {
    CertificateInfo {
        part,
        file: "c.pem".into(),
        subject: "CN=x\u{1b}[2J".to_owned(),
        names: Vec::new(),
        not_before: "2020-01-01T00:00:00Z".to_owned(),
        not_after: "2030-01-01T00:00:00Z".to_owned(),
        days_left,
        sha256: String::new(),
        made,
    }
}

#[test]
fn a_certificate_is_named_before_it_ends_and_an_authority_earlier() {
    let level = |part, days| certificate::judge(&info(part, false, days), now()).level;
    for (days, own, authority) in [
        (90, Level::Ok, Level::Ok),
        (89, Level::Ok, Level::Warn),
        (30, Level::Ok, Level::Warn),
        (29, Level::Warn, Level::Warn),
        (3, Level::Warn, Level::Warn),
        (2, Level::Error, Level::Error),
        (-1, Level::Error, Level::Error),
    ] {
        assert_eq!(
            (level(CertificateRole::Server, days), level(CertificateRole::Authority, days)),
            (own, authority)
        );
    }
    let advice = |part, made| certificate::judge(&info(part, made, 1), now()).advice.unwrap();
    assert!(advice(CertificateRole::Authority, true).contains("cert renew --ca"));
    assert!(advice(CertificateRole::Server, true).contains("`rollcall cert renew`"));
    assert!(advice(CertificateRole::Server, false).contains("reload"));
    let shown = certificate::judge(&info(CertificateRole::Server, true, 1), now()).problem;
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let early = CertificateInfo {
        not_before: "2029-01-01T00:00:00Z".to_owned(),
        ..info(CertificateRole::Server, true, 500)
    };
    assert_eq!(certificate::judge(&early, now()).level, Level::Error);
}

#[test]
fn a_star_covers_one_label() {
    for (known, name, expected) in [
        ("*.example.org", "calls.example.org", true),
        ("*.example.org", "a.calls.example.org", false),
        ("*.example.org", "example.org", false),
        ("Calls.example.org", "calls.EXAMPLE.org", true),
        ("10.0.0.1", "10.0.0.2", false),
    ] {
        assert_eq!(certificate::covers(known, name), expected, "{known} {name}");
    }
}

#[test]
fn wide_networks_are_found_and_narrow_ones_are_not() {
    let us = User { uid: 0, groups: vec![0] };
    let found = |networks: &str| {
        let text = format!("feature_servers.networks = [{networks}]");
        let config = Config::parse(Path::new(""), &text, &Settings::default()).unwrap();
        outbound::check(&config, &us)
    };
    assert_eq!(levels(&found("")), [Level::Ok]);
    assert_eq!(levels(&found("'10.5.0.0/16', 'fd00:1:2::/48'")), [Level::Ok]);
    for wide in ["'10.0.0.0/15'", "'fd00::/8'", "'::/0'"] {
        let findings = found(wide);
        assert_eq!(levels(&findings), [Level::Warn], "{findings:?}");
        assert!(findings[0].problem.contains("very wide"), "{findings:?}");
    }
    for clouds in ["'0.0.0.0/0'", "'169.254.0.0/16'"] {
        assert!(found(clouds)[0].problem.contains("hand out credentials"), "{clouds}");
    }
    let text = "upstream.ca = '/nowhere/ca.pem'";
    let config = Config::parse(Path::new(""), text, &Settings::default()).unwrap();
    assert_eq!(levels(&outbound::check(&config, &us)), [Level::Error]);
}

fn token(id: &str, scope: &str, role: Role, expired: bool) -> TokenInfo {
    TokenInfo {
        id: id.to_owned(),
        name: None,
        scope: scope.to_owned(),
        role,
        created_at: String::new(),
        expires_at: None,
        expired,
        last_used_at: None,
    }
}

#[test]
fn a_store_that_nobody_can_administer_is_found() {
    let good = token("a", "admin", Role::Full, false);
    assert_eq!(levels(&tokens::judge(std::slice::from_ref(&good))), [Level::Ok]);
    let over = token("dead", "admin", Role::Full, true);
    let findings = tokens::judge(&[good, over.clone()]);
    assert_eq!(levels(&findings), [Level::Warn]);
    assert!(findings[0].problem.contains("1 has expired: dead"), "{findings:?}");
    for none in [vec![], vec![token("b", "admin", Role::Read, false)]] {
        let findings = tokens::judge(&none);
        assert_eq!(levels(&findings), [Level::Warn]);
        assert!(findings[0].problem.contains("none is an admin token"), "{findings:?}");
    }
    assert_eq!(levels(&tokens::judge(&[over])), [Level::Warn, Level::Warn]);
}

#[test]
fn a_unit_that_differs_and_a_user_that_is_not_there_are_found() {
    let root = TempDir::new().unwrap();
    let config = Config { data_dir: root.path().join("data"), ..Config::default() };
    let around = || Surroundings {
        runtime_dir: None,
        root: root.path().to_owned(),
        now: UNIX_EPOCH + Duration::from_secs(20_000 * DAY_S),
    };
    assert_eq!(
        levels(&unit::check(&config, &UserTable::read(&around().root), &around())),
        [Level::Ok]
    );
    let units = root.path().join("etc/systemd/system");
    fs::create_dir_all(&units).unwrap();
    let shipped = include_str!("../../systemd/rollcall.service");
    fs::write(units.join("rollcall.service"), format!("# mine\n{shipped}")).unwrap();
    let findings = unit::check(&config, &UserTable::read(&around().root), &around());
    assert_eq!(levels(&findings), [Level::Ok, Level::Error]);
    assert!(findings[1].advice.as_ref().unwrap().contains("systemd-sysusers"), "{findings:?}");

    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:\nrollcall:x:4711:4711::/:\n")
        .unwrap();
    assert_eq!(
        levels(&unit::check(&config, &UserTable::read(&around().root), &around())),
        [Level::Ok, Level::Ok]
    );
    fs::create_dir(&config.data_dir).unwrap();
    let findings = unit::check(&config, &UserTable::read(&around().root), &around());
    assert_eq!(levels(&findings), [Level::Ok, Level::Warn]);
    assert!(findings[1].problem.contains("4711"), "{findings:?}");
    let socket = include_str!("../../systemd/rollcall.socket");
    let socket = socket.replace("Backlog=4096", "Backlog=1");
    fs::write(units.join("rollcall.socket"), socket).unwrap();
    let findings = unit::check(&config, &UserTable::read(&around().root), &around());
    assert_eq!(levels(&findings), [Level::Ok, Level::Warn, Level::Warn]);
    assert!(findings[2].advice.as_ref().unwrap().contains("edit rollcall.socket"), "{findings:?}");
    fs::remove_file(units.join("rollcall.socket")).unwrap();
    // A unit whose sockets systemd opens needs the user, too.
    let activated = include_str!("../../systemd/rollcall-activated.service");
    fs::rename(units.join("rollcall.service"), units.join("rollcall-activated.service")).unwrap();
    assert_eq!(
        levels(&unit::check(&config, &UserTable::read(&around().root), &around())),
        [Level::Warn, Level::Warn]
    );
    fs::write(units.join("rollcall-activated.service"), activated).unwrap();
    assert_eq!(
        levels(&unit::check(&config, &UserTable::read(&around().root), &around())),
        [Level::Ok, Level::Warn]
    );
    fs::remove_file(units.join("rollcall-activated.service")).unwrap();
    let other = shipped.replace("NoNewPrivileges=yes", "");
    fs::write(units.join("rollcall.service"), other).unwrap();
    assert_eq!(
        levels(&unit::check(&config, &UserTable::read(&around().root), &around())),
        [Level::Warn, Level::Warn]
    );
}

#[test]
fn the_console_is_found_and_who_reaches_it() {
    let config = |text: &str| Config::parse(Path::new("t"), text, &Settings::default()).unwrap();
    let figures = ConsoleFigures { sessions: 1, sign_ins: 2, sign_ins_refused: 3 };
    let up = console::Running::At("https://10.0.0.7:8443", &figures);
    let wide = "listen = \"0.0.0.0:8443\"\n";
    let (only, proxy) = ("only this machine reaches it", "http.trusted_proxies is empty");
    let at = "it is at https://10.0.0.7:8443/console/: 1 session; since the start 2 sign-ins, and 3 refused";
    for (text, running, level, says, not) in [
        ("[console]\nenabled = false", up, Level::Ok, &["it is off"][..], &[at][..]),
        (wide, up, Level::Ok, &[at, "log.audit is not set"], &[only, proxy]),
        (wide, console::Running::NoServer, Level::Ok, &["once a server runs"], &[at]),
        (wide, console::Running::Without, Level::Error, &["nothing serves it"], &[at]),
        ("listen = \"127.0.0.1:8443\"", up, Level::Ok, &[at, only], &[proxy]),
        ("listen = \"localhost:8443\"", up, Level::Ok, &[only], &[]),
        ("[http]\nlisten = \"127.0.0.1:8080\"", up, Level::Ok, &[proxy], &[]),
        (
            "listen = \"127.0.0.1:8443\"\n[http]\nlisten = \"127.0.0.1:8080\"\n\
             trusted_proxies = [\"127.0.0.1\"]\n[log]\naudit = \"/var/log/audit\"",
            up,
            Level::Ok,
            &[at],
            &[only, proxy, "log.audit"],
        ),
    ] {
        let finding = console::judge(&config(text), running);
        assert_eq!(finding.level, level, "{text}: {finding:?}");
        for words in says {
            assert!(finding.problem.contains(words), "{text}: {words}: {finding:?}");
        }
        for words in not {
            assert!(!finding.problem.contains(words), "{text}: {words}: {finding:?}");
        }
    }
}

#[test]
fn webhooks_that_are_refused_are_found_and_noise_is_not_blamed() {
    let refusals = |counts: &[(&str, u64)]| {
        Refusals(counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
    };
    let account = |n: u8, counts: &[(&str, u64)]| AccountHooks {
        account_sid: crate::domain::AccountSid::from_bytes([n; 16]),
        last_event_at: None,
        refused: refusals(counts),
    };
    let found = |accounts: Vec<AccountHooks>, others: &[(&str, u64)]| {
        hooks::judge(&HookFigures {
            accounts,
            others_refused: refusals(others),
            ..HookFigures::default()
        })
    };
    for (accounts, others, level, says) in [
        (vec![account(1, &[])], &[][..], Level::Ok, "none was refused"),
        (vec![], &[("no_credentials", 7)], Level::Ok, "7 webhooks refused: no credentials"),
        (vec![], &[("no_secret", 1), ("no_credentials", 7)], Level::Warn, "1 webhook refused"),
        (
            vec![account(1, &[("signature_wrong", 12)])],
            &[],
            Level::Warn,
            "12 webhooks refused: signature does not verify",
        ),
    ] {
        let findings = found(accounts, others);
        assert_eq!(levels(&findings), [level], "{findings:?}");
        assert!(findings[0].problem.contains(says), "{findings:?}");
    }
    // Each cause has its remedy, with the account's own sid.
    let causes =
        [("signature_wrong", 1), ("wrong_password", 2), ("signature_time", 3), ("role", 4)];
    let findings = found(vec![account(1, &causes)], &[]);
    let advice = findings[0].advice.as_deref().unwrap();
    let sid = crate::domain::AccountSid::from_bytes([1; 16]);
    for says in [
        format!("wrong webhook secret: `rollcall account set {sid} --webhook-secret -`"),
        format!("wrong password: `rollcall account set {sid} --hook-user USER --hook-password -`"),
        "clocks".to_owned(),
        format!("token: `rollcall token create --account {sid} --role ingest`"),
    ] {
        assert!(advice.contains(&says), "{says}: {advice}");
    }
    for wrong in ["set SID", "POST", "registered", "no webhook secret"] {
        assert!(!advice.contains(wrong), "{wrong}: {advice}");
    }
    // Whose user nobody has is known where there is one account alone.
    let unknown = [("unknown_user", 1)];
    let one = found(vec![account(1, &[])], &unknown)[0].advice.clone().unwrap();
    assert!(one.contains(&format!("account set {sid} --hook-user")), "{one}");
    let two = found(vec![account(1, &[]), account(2, &[])], &unknown)[0].advice.clone().unwrap();
    assert!(two.contains("account set ACCOUNT_SID --hook-user"), "{two}");
    // An account that nobody has registered has no secret that could be wrong.
    let stranger = UnregisteredAccount { account_sid: sid, refused: 3 };
    for (counted, left) in [(3, 0), (5, 1)] {
        let findings = hooks::judge(&HookFigures {
            accounts: Vec::new(),
            others_refused: refusals(&[("not_registered", counted)]),
            unregistered: vec![stranger.clone()],
        });
        assert_eq!(findings.len(), 1 + left, "{findings:?}");
        assert_eq!(findings[0].object, format!("account {sid}"));
        assert!(findings[0].problem.contains("3 signed webhooks refused: it is not registered"));
        let advice = findings[0].advice.as_deref().unwrap();
        assert!(advice.contains(&format!("account set {sid} --webhook-secret -")), "{advice}");
    }
    let many = (0..50).map(|n| account(n, &[("malformed", 1)])).collect();
    let findings = found(many, &[]);
    assert_eq!(findings.len(), 21);
    assert!(findings[20].problem.contains("30 accounts more"), "{findings:?}");
}
