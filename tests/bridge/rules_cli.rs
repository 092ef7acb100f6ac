//! Rules from the command line, through the socket of a Causeway that runs.

use causeway::web::Role;
use causeway::web::doors::users::UsersFile;
use reqwest::Method;
use serde_json::json;

use crate::rest_rules::{asking, open_stage, told};
use crate::stage::{Stage, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_rules_through_the_socket() {
    let stage = open_stage().await;
    let socket = stage.config.web_socket();
    let causeway = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway"));
        let output = command.args(["rules", "--socket"]).arg(&socket).args(args).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (good, out, error) =
        causeway(&["set", "/plain", "--host", "cli.example.com", "--why", "by hand", "--dry-run"]).await;
    assert!(good && out.contains("+cli.example.com"), "{out}{error}");
    assert_eq!(causeway(&["list"]).await.1, "APP  ORDER  ROUTES  CHANGED\n");
    let (good, out, error) =
        causeway(&["set", "/plain", "--host", "cli.example.com", "--why", "by hand"]).await;
    assert!(good && out == "/plain: created\n", "{out}{error}");
    stage.served("cli.example.com", "/", "/plain").await;
    let (_, list, _) = causeway(&["list"]).await;
    assert!(list.contains("/plain  -      cli.example.com") && list.contains("by hand"), "{list}");
    let (good, got, _) = causeway(&["get", "/plain"]).await;
    assert!(good && got.contains("host = \"cli.example.com\""), "{got}");
    let (good, _, error) =
        causeway(&["set", "/plain", "--host", "x.example.com", "--if-version", "old"]).await;
    assert!(!good && error.contains("has changed meanwhile"), "{error}");

    // What is exported can be imported, as TOML and as JSON; so can what Bamboo has.
    let (toml, json) = (stage.path("export.toml"), stage.path("export.json"));
    std::fs::write(&toml, causeway(&["export"]).await.1).unwrap();
    std::fs::write(&json, causeway(&["export", "--json"]).await.1).unwrap();
    assert_eq!(causeway(&["import", toml.to_str().unwrap()]).await.1, "/plain: unchanged\n");
    let (good, out, error) = causeway(&["rm", "/plain"]).await;
    assert!(good && out == "/plain: taken away\n", "{out}{error}");
    stage.answers("cli.example.com", "/", 404).await;
    assert_eq!(causeway(&["import", json.to_str().unwrap()]).await.1, "/plain: created\n");
    stage.served("cli.example.com", "/", "/plain").await;
    let bamboo = stage.path("bamboo.json");
    std::fs::write(&bamboo, r#"{"/web":{"Id":"/web","Acl":"hdr(host) -i bamboo.example.com","Config":{"Acl":"hdr(host) -i bamboo.example.com"}},
        "/plain":{"Id":"/plain","Acl":"src -f /etc/shadow","Config":null}}"#).unwrap();
    let (good, _, error) = causeway(&["import", bamboo.to_str().unwrap(), "--dry-run"]).await;
    assert!(!good && error.contains("/etc/shadow"), "{error}");
    let (good, out, error) = causeway(&["import", bamboo.to_str().unwrap()]).await;
    assert!(!good && out.contains("/web: created") && out.contains("/plain: refused"), "{out}{error}");
    stage.served("bamboo.example.com", "/", "/web").await;
    let (good, _, error) = causeway(&["get", "/nobody"]).await;
    assert!(!good && error.contains("there is no rule for /nobody"), "{error}");
    let fleet = told(asking(&stage, Method::GET, "/api/v2/fleet")).await.body;
    let node = &fleet["nodes"][0];
    assert_eq!(
        (fleet["nodes"].as_array().unwrap().len(), &node["this"], &node["rules"]),
        (1, &json!(true), &json!(2))
    );
    assert!(node["applied_at"].is_string() && node["version"] == env!("CARGO_PKG_VERSION"), "{node}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_rules_on_another_node_by_tls() {
    let mut stage = Stage::set().await;
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (stage.path("web.crt"), stage.path("web.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    stage.config.web.tls.certificate = Some(certificate.clone());
    stage.config.web.tls.key = Some(key.clone());
    let token = UsersFile::new(&stage.config.users_file()).add_token("ci", &Role::Admin, None).unwrap();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    let url = format!("https://{}", stage.web.unwrap());
    let causeway = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.args(["rules", "--url", &url]).env("CAUSEWAY_TOKEN", &token);
        let output = command.args(more).output().await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let trusting = ["--ca-file", certificate.to_str().unwrap()];
    let set = [&trusting[..], &["set", "/web", "--host", "cli.example.com"]].concat();
    assert_eq!(causeway(&set).await, "/web: created\n");
    stage.served("cli.example.com", "/", "/web").await;
    assert!(causeway(&["list"]).await.contains("certificate"), "without it the system's count");
    let no_certificate = ["--ca-file", key.to_str().unwrap(), "list"];
    assert!(causeway(&no_certificate).await.contains("it holds no certificate"));
}
