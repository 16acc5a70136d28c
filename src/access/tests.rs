use super::*;

fn now() -> Timestamp {
    Timestamp::from_millis(1000).unwrap()
}

fn token(id: &str, value: &str, expires_at: Option<u64>) -> SettingRow {
    let token = Token {
        id: id.to_owned(),
        name: None,
        scope: TokenScope::Admin,
        role: Role::Full,
        hash: TokenHash::of(value),
        created_at: 0,
        expires_at,
    };
    SettingRow { name: format!("token/{id}"), json: serde_json::to_vec(&token).unwrap() }
}

#[test]
fn a_token_counts_until_it_expires_or_is_removed() {
    let mut access = Access::default();
    access.apply(&token("a", "one", None)).unwrap();
    access.apply(&token("b", "two", Some(1000))).unwrap();
    assert_eq!(access.token("one", now()).unwrap().id, "a");
    assert!(access.token("two", now()).is_none(), "expired");
    assert!(access.token("ONE", now()).is_none());
    access.apply(&SettingRow { name: "token/a".to_owned(), json: Vec::new() }).unwrap();
    assert!(access.token("one", now()).is_none(), "revoked");
}

#[test]
fn nothing_secret_is_shown() {
    let row = token("a", "one", None);
    assert!(!String::from_utf8(row.json.clone()).unwrap().contains("one"));
    let mut access = Access::default();
    access.apply(&row).unwrap();
    let mut account = Account::new(AccountSid::from_bytes([1; 16]));
    account.webhook_secret = Some(Secret::new("hush"));
    let json = serde_json::to_vec(&account).unwrap();
    access.apply(&SettingRow { name: format!("account/{}", account.account_sid), json }).unwrap();
    let shown = format!("{access:?}");
    assert!(!shown.contains("hush") && shown.contains("***"), "{shown}");
}

#[test]
fn a_scope_covers_its_own_accounts_alone() {
    let [one, two] = [1, 2].map(|n| AccountSid::from_bytes([n; 16]));
    let provider = ServiceProviderSid::from_bytes([9; 16]);
    let mut access = Access::default();
    let mut account = Account::new(one);
    account.service_provider_sid = Some(provider);
    let json = serde_json::to_vec(&account).unwrap();
    access.apply(&SettingRow { name: format!("account/{one}"), json }).unwrap();
    assert!(
        access.covers(TokenScope::Account(one), one)
            && !access.covers(TokenScope::Account(one), two)
    );
    let scope = TokenScope::ServiceProvider(provider);
    assert!(access.covers(scope, one) && !access.covers(scope, two));
    assert!(access.covers(TokenScope::Admin, two));
}

#[test]
fn new_tokens_are_long_and_differ() {
    let [one, two] = [(); 2].map(|()| new_token_value().unwrap());
    assert!(one.len() > 40 && one.starts_with("rc_") && one != two);
}

#[test]
fn it_is_known_whether_any_signature_can_be_checked() {
    let sid = AccountSid::from_bytes([1; 16]);
    let row = |account: Option<&Account>| SettingRow {
        name: format!("account/{sid}"),
        json: account.map(|account| serde_json::to_vec(account).unwrap()).unwrap_or_default(),
    };
    let mut access = Access::default();
    let mut account = Account::new(sid);
    access.apply(&row(Some(&account))).unwrap();
    assert!(!access.any_webhook_secret());
    account.webhook_secret = Some(Secret::new("hush"));
    for _ in 0..2 {
        access.apply(&row(Some(&account))).unwrap();
        assert!(access.any_webhook_secret());
    }
    access.apply(&row(None)).unwrap();
    assert!(!access.any_webhook_secret());
}

#[test]
fn a_secret_signs_parts_as_if_they_were_one() {
    // RFC 4231, test case 2.
    let secret = Secret::new("Jefe");
    let digest = data_encoding::HEXLOWER
        .decode(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        .unwrap();
    let parts: [&[u8]; 3] = [b"what do ya want ", b"", b"for nothing?"];
    assert!(secret.signs(&parts, &[vec![0; 32], digest.clone()]));
    assert!(!secret.signs(&parts, &[digest[..31].to_vec()]) && !secret.signs(&parts, &[]));
    assert!(!secret.signs(&parts[..2], &[digest]));
}
