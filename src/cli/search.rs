//! Words of a search: parts of numbers, ids, SIP statuses, durations.

use clap::Args;

/// The flags have the names of the API's parameters, and are read as those are.
#[derive(Debug, Clone, Args)]
pub(super) struct SearchArgs {
    /// Calls from or to this number, exactly as the calls have it; several are separated by commas.
    #[arg(long, value_name = "NUMBER")]
    number: Vec<String>,
    /// Calls from numbers that have these digits in them, however both are written, or from SIP users that
    /// have these letters and digits: at least 3; several parts are separated by commas.
    #[arg(long, value_name = "PART")]
    from_contains: Vec<String>,
    /// Calls to numbers or SIP users that have this part.
    #[arg(long, value_name = "PART")]
    to_contains: Vec<String>,
    /// Calls from or to numbers or SIP users that have this part.
    #[arg(long, value_name = "PART")]
    number_contains: Vec<String>,
    /// Calls with this SIP Call-ID; several are separated by commas.
    #[arg(long, value_name = "CALL_ID")]
    call_id: Vec<String>,
    /// Calls with this Call-ID on the other side of the SBC (`sbc_callid`); several are separated by commas.
    #[arg(long, value_name = "CALL_ID")]
    sbc_callid: Vec<String>,
    /// Calls with this `trace_id`; several are separated by commas.
    #[arg(long, value_name = "ID")]
    trace_id: Vec<String>,
    /// Calls of this application, exactly as the calls have its sid; several are separated by commas.
    #[arg(long, value_name = "SID")]
    application_sid: Vec<String>,
    /// Calls that came by this trunk (`originating_sip_trunk_name`, or `trunk` of a CDR); several are separated by commas.
    #[arg(long, value_name = "NAME")]
    trunk: Vec<String>,
    /// Calls that this side has ended (`call_termination_by`): caller or callee.
    #[arg(long, value_name = "SIDE")]
    termination: Vec<String>,
    /// Calls with this SIP status, such as 486, or one of a class, such as 4xx; several are separated by commas.
    #[arg(long, value_name = "STATUS")]
    sip_status: Vec<String>,
    /// Only calls that were answered; `--answered=false` for all others.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    answered: Option<bool>,
    /// Ended calls of so many seconds at least.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    duration_min: Option<String>,
    /// Ended calls of so many seconds at most.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    duration_max: Option<String>,
    /// The sid of a call, a SIP Call-ID, a number or SIP user, or a part of one.
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
}

impl SearchArgs {
    /// The numbers that are looked for exactly.
    pub fn numbers(&self) -> &[String] {
        &self.number
    }

    /// What to say of a part that begins with 00, where nothing was found.
    pub fn hint(&self) -> Option<String> {
        let parts = [
            ("--from-contains", self.from_contains.as_slice()),
            ("--to-contains", &self.to_contains),
            ("--number-contains", &self.number_contains),
            ("--q", self.q.as_slice()),
        ];
        let mut all = parts.into_iter().flat_map(|(flag, texts)| {
            texts.iter().flat_map(move |text| text.split(',').map(move |part| (flag, part.trim())))
        });
        let (flag, part) = all.find(|(_, part)| part.starts_with("00"))?;
        let shown: String = part.chars().take(80).collect();
        Some(format!(
            "nothing was found; {flag} {shown:?} begins with 00: without it, numbers that are written \
             with + are found, too"
        ))
    }
}

impl From<SearchArgs> for Vec<(String, String)> {
    /// Parameters of the API, by their names.
    fn from(args: SearchArgs) -> Self {
        let one = |value: Option<String>| value.into_iter().collect();
        let all: [(&str, Vec<String>); 15] = [
            ("number", args.number),
            ("from_contains", args.from_contains),
            ("to_contains", args.to_contains),
            ("number_contains", args.number_contains),
            ("call_id", args.call_id),
            ("sbc_callid", args.sbc_callid),
            ("trace_id", args.trace_id),
            ("application_sid", args.application_sid),
            ("trunk", args.trunk),
            ("termination", args.termination),
            ("sip_status", args.sip_status),
            ("answered", one(args.answered.map(|answered| answered.to_string()))),
            ("duration_min", one(args.duration_min)),
            ("duration_max", one(args.duration_max)),
            ("q", one(args.q)),
        ];
        let pairs = all.into_iter().flat_map(|(name, values)| {
            values.into_iter().map(move |value| (name.to_owned(), value))
        });
        pairs.collect()
    }
}
