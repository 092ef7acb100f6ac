//! The doors as an operator meets them: the command line beside a bridge that runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use causeway::bridge;
use causeway::config::Config;
use causeway::web::Door;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A directory with a configuration whose Marathon nobody runs.
struct House {
    dir: tempfile::TempDir,
}

impl House {
    fn new(web: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "[marathon]\nendpoints = [\"http://127.0.0.1:1\"]\n[haproxy]\nstate_dir = {:?}\nsocket = {:?}\nmaster_socket = {:?}\n\
             [web]\n{web}\n",
            path("state"),
            path("run/haproxy.sock"),
            path("run/master.sock")
        );
        std::fs::write(dir.path().join("causeway.toml"), text).unwrap();
        Self { dir }
    }

    fn config(&self) -> Config {
        Config::load(Some(&self.dir.path().join("causeway.toml"))).unwrap()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    /// Runs the command line, with this on its standard input.
    fn causeway(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.args(arguments).arg("--config").arg(self.dir.path().join("causeway.toml"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ended_already = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a command that works prints.
    fn done(&self, arguments: &[&str], input: &str) -> String {
        let output = self.causeway(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that does not work says.
    fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.causeway(arguments, input);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn users_and_tokens_are_kept_by_the_command_line() {
    let house = House::new("");
    house.done(&["user", "add", "ada", "--role", "admin"], "the password of ada\nmore\n");
    house.done(
        &[
            "user",
            "add",
            "eve",
            "--role",
            "editor",
            "--prefix",
            "/team-a/**",
            "--prefix",
            "/web",
            "--no-password",
        ],
        "",
    );
    assert_eq!(mode(&house.state("users.toml")), 0o600);
    let list = house.done(&["user", "list"], "");
    assert_eq!(list, "ada\tadmin\neve\teditor of /team-a/**, /web (by a proxy only)\n");
    let token = house.done(&["token", "add", "ci", "--role", "viewer", "--expires", "90d"], "");
    assert!(token.starts_with("causeway_") && token.trim_end().len() == "causeway_".len() + 43, "{token}");
    house.done(&["token", "add", "forever", "--expires", "never"], "");
    let list = house.done(&["token", "list"], "");
    assert!(
        list.starts_with("ci\tviewer\tuntil 20") && list.ends_with("forever\tviewer\tdoes not expire\n"),
        "{list}"
    );
    let kept = std::fs::read_to_string(house.state("users.toml")).unwrap();
    assert!(!kept.contains("the password") && !kept.contains(token.trim_end()), "{kept}");

    for (arguments, input, words) in [
        (&["user", "add", "ada"][..], "another password\n", "exists already"),
        (&["user", "add", "bob"], "short\n", "at least 8 characters"),
        (&["user", "add", "bob"], "", "at least 8 characters"),
        (&["user", "add", "bob", "--role", "editor"], "long enough\n", "an editor needs prefixes"),
        (&["user", "add", "bob", "--role", "boss"], "long enough\n", "expected viewer, editor or admin"),
        (&["user", "password", "bob"], "long enough\n", "there is no user bob"),
        (&["user", "add", "bob", "--password", "long enough"], "", "unexpected argument '--password'"),
        (&["token", "add", "x", "--expires", "-1d"], "", "unexpected argument"),
        (&["token", "add", "x", "--expires=-1d"], "", "not a time like 90d"),
        (&["token", "add", "x", "--expires", "soon"], "", "not a time like 90d"),
        (&["token", "remove", "x"], "", "there is no token x"),
    ] {
        let said = house.refused(arguments, input);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    house.done(&["user", "password", "eve"], "the password of eve");
    house.done(&["user", "remove", "ada"], "");
    house.done(&["token", "remove", "ci"], "");
    assert_eq!(house.done(&["user", "list"], ""), "eve\teditor of /team-a/**, /web\n");

    // What was done, and nothing of what was refused, is in the audit log.
    assert_eq!(mode(&house.state("audit.log")), 0o600);
    let log = std::fs::read_to_string(house.state("audit.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let done: Vec<_> = lines.iter().map(|line| (text(line, "method"), text(line, "about"))).collect();
    let until = text(&lines[2], "about");
    assert!(until.starts_with("ci, viewer, until 20"), "{until}");
    let expected = [
        ("user add", "ada, admin"),
        ("user add", "eve, editor of /team-a/**, /web"),
        ("token add", &*until),
        ("token add", "forever, viewer, until it is removed"),
        ("user password", "eve"),
        ("user remove", "ada"),
        ("token remove", "ci"),
    ];
    assert_eq!(done, expected.map(|(command, about)| (command.to_owned(), about.to_owned())));
    assert!(
        lines
            .iter()
            .all(|line| line["by"] == "command"
                && line["path"] == *house.state("users.toml").to_str().unwrap())
    );
    assert!(!log.contains("the password") && !log.contains(token.trim_end()), "{log}");
}

#[tokio::test]
async fn beyond_loopback_it_does_not_start_without_users() {
    let house = House::new("listen = \"0.0.0.0:0\"");
    let error = bridge::run(house.config(), CancellationToken::new()).await.unwrap_err().to_string();
    assert!(
        error.contains("can be reached from other hosts") && error.contains("causeway user add"),
        "{error}"
    );
    assert!(!house.state("current").exists() && !house.state("haproxy.pid").exists());
    // The check says so before, and says when it is right.
    assert!(house.refused(&["check"], "").contains("causeway user add NAME --role admin"));
    house.done(&["user", "add", "ada", "--role", "admin"], "the password of ada\n");
    house.done(&["check"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_runs_lets_in_who_was_added_meanwhile() {
    let house = House::new("listen = \"127.0.0.1:0\"");
    // As a directory that somebody made before.
    std::fs::create_dir(house.dir.path().join("state")).unwrap();
    std::fs::set_permissions(house.dir.path().join("state"), PermissionsExt::from_mode(0o755)).unwrap();
    let (config, stop) = (house.config(), CancellationToken::new());
    let door = Door::open(&config).unwrap();
    let url = format!("http://{}/api/v2/session", door.address().unwrap());
    let running = tokio::spawn(bridge::run_with(config.clone(), door, stop.clone()));
    let client = reqwest::Client::new();
    let log_in = async || {
        let login = json!({ "user": "ada", "password": "the password of ada" });
        client.post(&url).json(&login).send().await.unwrap()
    };
    assert_eq!(log_in().await.status(), 401);
    assert_eq!(mode(&house.dir.path().join("state")), 0o700);
    house.done(&["user", "add", "ada", "--role", "admin"], "the password of ada\n");
    let answer = log_in().await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split_once(';').unwrap().0.to_owned();
    let who = async || {
        let answer = client.get(&url).header("Cookie", &cookie).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["name"].clone()
    };
    assert_eq!(who().await, "ada");
    house.done(&["user", "password", "ada"], "another password\n");
    assert_eq!(who().await, Value::Null);

    let by_socket = reqwest::Client::builder().unix_socket(config.web_socket()).build().unwrap();
    let answer = by_socket.get("http://causeway/api/v2/session").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["by"], "socket");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!config.web_socket().exists());
    for name in ["users.toml", "sessions.json", "audit.log"] {
        assert_eq!(mode(&house.state(name)), 0o600, "{name}");
    }
}
