//! The choice of this node or the fleet on the page of a service, in a real browser.

use causeway::config::WebAuth;
use causeway::web::Role;
use causeway::web::doors::users::UsersFile;
use thirtyfour::By;

use crate::browser::Browser;
use crate::fleet::{HOST, Two};

async fn log_in(browser: &Browser, name: &str) {
    browser.go("/login?next=/services/shop/web").await;
    browser.fill("[name=user]", name).await;
    browser.fill("[name=password]", "a long password").await;
    browser.click("main button").await;
    browser.says(".who", name).await;
}

/// Gives an order in the row of a task.
async fn order(browser: &Browser, task: &str, choices: &[&str], why: &str) {
    browser.go("/services/shop/web").await;
    let row = format!("//tr[contains(@data-key, '{task}')]");
    let find = async |path: &str| browser.find(By::XPath(format!("{row}{path}"))).await;
    find("//summary").await.click().await.unwrap();
    for choice in choices {
        find(&format!("//input[@value='{choice}']")).await.click().await.unwrap();
    }
    find("//input[@name='why']").await.send_keys(why).await.unwrap();
    find("//button").await.click().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_drained_on_this_node_or_on_the_fleet_by_who_may() {
    let mut two = Two::start().await;
    two.first.config.web.auth = WebAuth::Login;
    let users = UsersFile::new(&two.first.config.users_file());
    let editor = Role::Editor { prefixes: vec!["/shop/**".to_owned()] };
    users.add_user("ada", &editor, Some("a long password")).unwrap();
    users.add_user("vera", &Role::Viewer, Some("a long password")).unwrap();
    let task = two.bridge().await;
    let browser = Browser::open(&two.first).await;
    log_in(&browser, "vera").await;
    browser.says("h1", "/shop/web").await;
    assert!(browser.texts("[name=scope]").await.is_empty(), "a viewer is not offered what he may not do");
    browser.driver.delete_all_cookies().await.unwrap();
    log_in(&browser, "ada").await;
    browser.click(".servers tbody tr:first-child summary").await;
    browser.says(".order", "The fleet (2 nodes)").await;
    browser.look("fleet-order").await;

    order(&browser, &task, &["fleet"], "a <b>new</b> disk").await;
    browser.says("[data-fleet]", "Drained for the fleet by ada: a <b>new</b> disk").await;
    browser.says("[data-carried-out]", "By the fleet: all 2 nodes").await;
    browser.says("#sentence", "with 1 of 2 servers").await;
    two.first.tasks(HOST, 1).await;
    two.second.tasks(HOST, 1).await;
    browser.look("fleet-drained").await;
    // Its word is there without scripts too.
    browser.scripts(false).await;
    browser.go("/services/shop/web?tab=changes").await;
    browser.says("[data-carried-out]", "By the fleet: all 2 nodes").await;
    browser.says("#parts", "drained for the fleet").await;
    browser.scripts(true).await;

    order(&browser, &task, &["ready", "node"], "it serves here").await;
    browser.says("[data-fleet]", "set otherwise on this node since").await;
    two.first.tasks(HOST, 2).await;
    two.second.tasks(HOST, 1).await;
    browser.look("fleet-differs").await;

    // A node that is cut off is still taken for one of us, for a while.
    two.proxy.close();
    order(&browser, &task, &["fleet"], "again").await;
    browser.says("[data-carried-out]", "1 of 2 nodes. Not yet:").await;
    browser.look("fleet-not-yet").await;
    two.proxy.open();
    browser.says("[data-carried-out]", "all 2 nodes").await;

    // What was set for the fleet is put back for the fleet, where nobody says otherwise.
    order(&browser, &task, &[], "the disk is in").await;
    browser.says("[data-fleet]", "Put back for the fleet by ada: the disk is in").await;
    two.first.tasks(HOST, 2).await;
    two.second.tasks(HOST, 2).await;
    browser.look("fleet-back").await;

    two.zookeeper.kill_node(0);
    browser.go("/services/shop/web").await;
    browser.click(".servers tbody tr:first-child summary").await;
    browser.says(".order", "not just now").await;
    browser.look("fleet-away").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
