//! The subscription by which an `InfluxDB` sends CDRs on.

use serde_json::Value as Json;

use super::Credentials;
use super::influx::{Influx, InfluxError, Series, quoted_name, quoted_text};
use crate::outbound::Base;

/// Where an `InfluxDB` sends what is written to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub retention_policy: String,
    pub name: String,
    /// URLs, with the passwords in them.
    destinations: Vec<String>,
}

impl Subscription {
    /// Where it leads, passwords masked.
    pub fn shown(&self) -> String {
        self.destinations.iter().map(|url| masked(url)).collect::<Vec<_>>().join(", ")
    }
}

/// What was done about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Made,
    /// It led elsewhere before, or had another password.
    Replaced,
    /// It was there already.
    AsItWas,
    Removed,
    /// There was none.
    NotThere,
}

/// The subscription of rollcall.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub database: &'a str,
    pub name: &'a str,
    /// Where the listener for CDRs is, as `InfluxDB` reaches it.
    pub url: &'a Base,
    pub credentials: &'a Credentials,
}

impl Wanted<'_> {
    fn destination(&self) -> String {
        let url = self.url.to_string();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
        let user = encoded(&self.credentials.user);
        let password = encoded(self.credentials.password.reveal());
        format!("{scheme}://{user}:{password}@{rest}")
    }

    /// Makes it, where it is not there as it is to be.
    ///
    /// # Errors
    /// Those of [`InfluxError`].
    pub async fn make(&self, influx: &Influx) -> Result<(Done, Vec<Subscription>), InfluxError> {
        let policy = default_policy(influx, self.database).await?;
        let before = subscriptions(influx, self.database).await?;
        let destination = self.destination();
        let same_name = before.iter().find(|one| one.name == self.name);
        let is_right = |one: &Subscription| {
            one.retention_policy == policy && one.destinations == [destination.as_str()]
        };
        if same_name.is_some_and(is_right) {
            return Ok((Done::AsItWas, before));
        }
        if let Some(old) = same_name {
            drop_one(influx, self.database, old).await?;
        }
        let statement = format!(
            "CREATE SUBSCRIPTION {} ON {}.{} DESTINATIONS ALL {}",
            quoted_name(self.name),
            quoted_name(self.database),
            quoted_name(&policy),
            quoted_text(&destination)
        );
        influx.run(&statement).await?;
        let done = if same_name.is_some() { Done::Replaced } else { Done::Made };
        Ok((done, subscriptions(influx, self.database).await?))
    }
}

/// Removes the subscription of that name.
///
/// # Errors
/// Those of [`InfluxError`].
pub async fn remove(
    influx: &Influx,
    database: &str,
    name: &str,
) -> Result<(Done, Vec<Subscription>), InfluxError> {
    let before = subscriptions(influx, database).await?;
    let Some(old) = before.iter().find(|one| one.name == name) else {
        return Ok((Done::NotThere, before));
    };
    drop_one(influx, database, old).await?;
    Ok((Done::Removed, subscriptions(influx, database).await?))
}

async fn drop_one(influx: &Influx, database: &str, old: &Subscription) -> Result<(), InfluxError> {
    let statement = format!(
        "DROP SUBSCRIPTION {} ON {}.{}",
        quoted_name(&old.name),
        quoted_name(database),
        quoted_name(&old.retention_policy)
    );
    influx.run(&statement).await.map(drop)
}

/// The policy by which is kept what names none.
async fn default_policy(influx: &Influx, database: &str) -> Result<String, InfluxError> {
    let found =
        influx.run(&format!("SHOW RETENTION POLICIES ON {}", quoted_name(database))).await?;
    let policy = found.iter().find_map(|series| {
        let (name, default) = (series.column("name")?, series.column("default")?);
        let row = series.values.iter().find(|row| row.get(default) == Some(&Json::Bool(true)))?;
        row.get(name)?.as_str().map(str::to_owned)
    });
    policy.ok_or_else(|| InfluxError::Answer("no retention policy is the default one".to_owned()))
}

async fn subscriptions(influx: &Influx, database: &str) -> Result<Vec<Subscription>, InfluxError> {
    let found = influx.run("SHOW SUBSCRIPTIONS").await?;
    let own = found.into_iter().filter(|series| series.name == database);
    Ok(own.flat_map(|series| listed(&series)).collect())
}

fn listed(series: &Series) -> Vec<Subscription> {
    let text = |row: &[Json], name: &str| {
        let value = series.column(name).and_then(|place| row.get(place));
        value.and_then(Json::as_str).unwrap_or_default().to_owned()
    };
    let rows = series.values.iter().map(|row| {
        let place = series.column("destinations");
        let urls = place.and_then(|place| row.get(place)).and_then(Json::as_array);
        let urls = urls.into_iter().flatten().filter_map(Json::as_str);
        Subscription {
            retention_policy: text(row, "retention_policy"),
            name: text(row, "name"),
            destinations: urls.map(str::to_owned).collect(),
        }
    });
    rows.collect()
}

/// A text within a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A URL whose password is not shown.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((login, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Secret;

    #[test]
    fn the_destination_has_the_password_and_what_is_shown_has_not() {
        let credentials =
            Credentials { user: "rollcall".to_owned(), password: Secret::new("a'b/@: ü") };
        let url = "http://10.0.0.5:8086".parse().unwrap();
        let wanted =
            Wanted { database: "cdrs", name: "rollcall", url: &url, credentials: &credentials };
        let destination = wanted.destination();
        assert_eq!(destination, "http://rollcall:a%27b%2F%40%3A%20%C3%BC@10.0.0.5:8086");
        let subscription = Subscription {
            retention_policy: "autogen".to_owned(),
            name: "rollcall".to_owned(),
            destinations: vec![destination, "udp://h0:9".to_owned()],
        };
        assert_eq!(subscription.shown(), "http://rollcall:***@10.0.0.5:8086, udp://h0:9");
        assert_eq!(quoted_text("a'b\\"), "'a\\'b\\\\'");
        assert_eq!(quoted_name("a\"b"), "\"a\\\"b\"");
    }
}
