//! A server that answers as a script says: what a real Redis does only now and then, or never.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::super::harness::{A1, Rollcall, sid};
use super::redis::{call_with, mirror_is, state_of, states, timeline};

/// Answers each command of each connection with what `answer` says to it.
fn serve(answer: impl Fn(&[String], &mut usize) -> String + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _gone = talk(stream, &answer);
            });
        }
    });
    format!("redis://127.0.0.1:{port}")
}

fn talk(
    stream: TcpStream,
    answer: &dyn Fn(&[String], &mut usize) -> String,
) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut asked = 0;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let count: usize = line.trim_end()[1..].parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            line.clear();
            input.read_line(&mut line)?;
            let mut text = vec![0; line.trim_end()[1..].parse::<usize>().unwrap() + 2];
            input.read_exact(&mut text)?;
            words.push(String::from_utf8(text[..text.len() - 2].to_vec()).unwrap());
        }
        out.write_all(answer(&words, &mut asked).as_bytes())?;
    }
}

fn text(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn a_change_that_is_found_just_before_it_is_reported_has_its_time() {
    let state = state_of(A1, 1, &states()[0]);
    let key = state["key"].as_str().unwrap().to_owned();
    let url = serve(move |words, asked| match words[0].as_str() {
        "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
        "SCAN" => format!("*2\r\n{}*1\r\n{}", text("0"), text(&key)),
        "HGETALL" => {
            let hash = state["hash"].as_object().unwrap();
            let members =
                hash.iter().map(|(key, value)| text(key) + &text(value.as_str().unwrap()));
            let mut answer = format!("%{}\r\n{}", hash.len(), members.collect::<String>());
            *asked += 1;
            if *asked == 1 {
                // Redis reports at the end of its turn what was written in it.
                let push = [">2\r\n", &text("invalidate"), "*1\r\n", &text(&key)].concat();
                answer.push_str(&push);
            }
            answer
        }
        "PING" => "+PONG\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    });
    let rollcall = Rollcall::up(&["--mirror-redis-url", &url]);
    let call = call_with(&rollcall, A1, &sid(1), "trying");
    assert!(call["attempted_at"].is_string() && call.get("time_unknown").is_none(), "{call}");
    let mirror =
        mirror_is(&rollcall, "all is looked through", |mirror| mirror["reconciled_at"].is_string());
    assert_eq!((&mirror["events"], &mirror["found"]), (&1.into(), &0.into()), "{mirror}");
    assert_eq!(
        timeline(&rollcall, A1, &sid(1)),
        [("mirror".to_owned(), "trying".to_owned(), true)]
    );
}

#[test]
fn a_server_that_claims_absurd_lengths_is_left_and_asked_again() {
    for (answer, says) in [
        ("*2\r\n$1\r\n0\r\n*999999999999\r\n", "expected a number up to 262144"),
        ("$4294967296\r\n", "expected a number up to 1048576"),
        ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "arrays in one another"),
        ("+PONG\r\n", "answers SCAN with \"PONG\""),
        ("-NOPERM no\r\n", "refuses SCAN: NOPERM no"),
    ] {
        let url = serve(move |words, _| match words[0].as_str() {
            "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            "SCAN" => answer.to_owned(),
            _ => "+OK\r\n".to_owned(),
        });
        let rollcall = Rollcall::up(&["--mirror-redis-url", &url]);
        mirror_is(&rollcall, "it says why", |mirror| {
            mirror["why"].as_str().is_some_and(|why| why.contains(says))
        });
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
        assert_eq!((answer.status, answer.body.as_str()), (200, "[]"));
    }
}
