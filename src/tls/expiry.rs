//! When to say that a certificate is about to end: at 30, 14, 7 and 1 days, and every day once it
//! has ended. An authority that clients were given is named 90 days before, for what replaces it
//! must reach them first.

use std::collections::BTreeMap;

use super::look::{CertificateRole, InUse};

const STAGES_DAYS: [i64; 4] = [1, 7, 14, 30];
const AUTHORITY_DAYS: i64 = 90;

/// What has been said so far, by the certificate's digest.
#[derive(Debug, Default)]
pub struct Expiries {
    said: BTreeMap<String, (i64, u64)>,
}

impl Expiries {
    /// Those of `certificates` that must be named now, `now_s` being Unix seconds. Each stage is
    /// named once, and no certificate twice within a day.
    pub fn due<'a>(&mut self, certificates: &'a [InUse], now_s: u64) -> Vec<&'a InUse> {
        let day = now_s / 86_400;
        let mut due = Vec::new();
        for certificate in certificates {
            let Some(stage) = stage(certificate, now_s) else { continue };
            let said = self.said.get(&certificate.sha256);
            let again = match said {
                None => true,
                Some((_, said_on)) if *said_on == day => false,
                Some((said, _)) => stage < *said || stage < 0,
            };
            if again {
                self.said.insert(certificate.sha256.clone(), (stage, day));
                due.push(certificate);
            }
        }
        due
    }
}

/// The least stage that it has reached; -1 once it is over.
fn stage(certificate: &InUse, now_s: u64) -> Option<i64> {
    if now_s > certificate.not_after_s {
        return Some(-1);
    }
    let left = certificate.days_left(now_s);
    let authority = certificate.part == CertificateRole::Authority;
    let early = authority.then_some(AUTHORITY_DAYS);
    STAGES_DAYS.into_iter().chain(early).find(|days| left < *days)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const END: u64 = 1000 * DAY;

    fn certificate(part: CertificateRole) -> InUse {
        InUse {
            part,
            file: "c.pem".into(),
            subject: "CN=x".to_owned(),
            names: Vec::new(),
            not_before_s: 0,
            not_after_s: END,
            sha256: "aa".to_owned(),
            made: false,
        }
    }

    /// The days before the end on which something is said, looking every hour.
    fn days(part: CertificateRole) -> Vec<i64> {
        let all = [certificate(part)];
        let mut expiries = Expiries::default();
        let hours = (END - 100 * DAY..END + 3 * DAY).step_by(3600);
        let said = hours.flat_map(|now| {
            expiries.due(&all, now).into_iter().map(|one| one.days_left(now)).collect::<Vec<_>>()
        });
        said.collect()
    }

    #[test]
    fn each_stage_is_named_once_and_what_is_over_every_day() {
        // An hour after the end, and at the beginning of each day after that.
        assert_eq!(days(CertificateRole::Server), [29, 13, 6, 0, -1, -1, -2]);
        assert_eq!(days(CertificateRole::Authority), [89, 29, 13, 6, 0, -1, -1, -2]);
    }

    #[test]
    fn the_first_look_names_what_is_due_and_a_new_certificate_is_another() {
        let mut expiries = Expiries::default();
        let mut all = [certificate(CertificateRole::Server)];
        assert_eq!(expiries.due(&all, END - 2 * DAY).len(), 1);
        assert_eq!(expiries.due(&all, END - DAY / 2).len(), 1);
        assert_eq!(expiries.due(&all, END - DAY / 2 + 60).len(), 0);
        all[0].sha256 = "bb".to_owned();
        assert_eq!(expiries.due(&all, END - DAY / 2 + 120).len(), 1);
        all[0].not_after_s += 300 * DAY;
        all[0].sha256 = "cc".to_owned();
        assert_eq!(expiries.due(&all, END - DAY / 2 + 180).len(), 0);
    }
}
