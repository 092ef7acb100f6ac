use super::*;
use crate::model::AppId;

/// As 2.6.12 answers to `show stat -1 2 -1` (asked of the real one), cut off behind the columns that matter.
const HEADER: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,\
    status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,\
    rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,\
    req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,";

fn id(app: &str) -> ServiceId {
    ServiceId { app: AppId::new(app), port_index: 0 }
}

fn table(rows: &[(&str, &str)]) -> Backends {
    let backends = Backends::default();
    for (app, backend) in rows {
        backends.set(&id(app), Some(backend));
    }
    backends
}

fn answer(rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    format!("{HEADER}\n{rows}\n")
}

fn http(name: &str) -> String {
    format!(
        "{name},BACKEND,1,5,2,9,200,300,4000,50000,0,0,,6,7,8,9,UP,2,2,1,,0,77,0,,1,5,0,,290,,1,0,,12,,,,0,280,5,4,3,2,,,\
         ,294,0,0,0,0,0,0,3,,\n"
    )
}

fn tcp(name: &str) -> String {
    format!(
        "{name},BACKEND,0,0,0,1,200,30,40,50,0,0,,0,0,0,0,DOWN,0,0,0,,0,77,0,,1,6,0,,30,,1,0,,1,,,,,,,,,,,,,,0,0,0,0,0,0,3,\
         \"a, \"\"quoted\"\" word\",\n"
    )
}

#[test]
fn figures_are_read_by_the_names_of_their_columns_under_the_name_of_the_app() {
    let backends = table(&[("/shop/web", "h_p17"), ("/data/cache", "t_data_cache_0")]);
    let rows = [http("h_p17"), tcp("t_data_cache_0"), http("h_p18"), http("be_none")];
    let all = parse(answer(rows.into_iter()).as_bytes(), &backends).unwrap();
    let web = Figures {
        up: true,
        servers_up: 3,
        queued: 1,
        sessions: 2,
        sessions_total: 300,
        requests_total: 294,
        bytes_in: 4000,
        bytes_out: 50_000,
        connection_errors: 6,
        response_errors: 7,
        retries: 8,
        redispatches: 9,
        responses: Some([0, 280, 5, 4, 3, 2]),
    };
    let cache =
        Figures { sessions_total: 30, bytes_in: 40, bytes_out: 50, responses: None, ..Figures::default() };
    let expected = [
        ServiceFigures { service: id("/shop/web"), backend: "h_p17".into(), figures: web, rates: None },
        ServiceFigures {
            service: id("/data/cache"),
            backend: "t_data_cache_0".into(),
            figures: cache,
            rates: None,
        },
    ];
    assert_eq!(all, expected, "a backend that nobody has is not shown");
}

#[test]
fn what_is_no_answer_is_told_and_shows_no_figures() {
    let error = parse(&b"Unknown command: 'show stat'\n"[..], &Backends::default()).unwrap_err();
    assert!(matches!(error, StatsError::Column("act")), "{error}");
    assert!(parse(&b""[..], &Backends::default()).is_err());
}

#[test]
fn a_service_has_one_backend_and_a_backend_one_service() {
    let backends = table(&[("/a", "h_p1")]);
    assert_eq!(backends.owner("h_p1"), Some(id("/a")));
    backends.set(&id("/a"), Some("h_a_0"));
    assert_eq!(backends.owner("h_p1"), None, "the spare is given back");
    backends.set(&id("/b"), Some("h_p1"));
    assert_eq!(backends.owner("h_p1"), Some(id("/b")));
    backends.set(&id("/c"), Some("h_p1"));
    backends.set(&id("/b"), None);
    assert_eq!(backends.owner("h_p1"), Some(id("/c")), "who left takes nothing from who came");
    backends.set(&id("/a"), None);
    assert_eq!(backends.owner("h_a_0"), None);
}

/// Not a bound that a busy machine would break; the figures are for the reader (`--nocapture`).
#[test]
fn ten_thousand_backends_are_read_in_milliseconds() {
    let backends = Backends::default();
    for n in 0..10_000 {
        backends.set(
            &id(&format!("/group-{}/app-{n}", n % 100)),
            Some(&format!("h_group-{}_app-{n}_0", n % 100)),
        );
    }
    let text = answer((0..10_000).map(|n| http(&format!("h_group-{}_app-{n}_0", n % 100))));
    let cpu = || {
        use nix::sys::time::TimeValLike as _;
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
        (usage.user_time() + usage.system_time()).num_microseconds()
    };
    let before = cpu();
    let all = parse(text.as_bytes(), &backends).unwrap();
    let spent = cpu() - before;
    assert_eq!(all.len(), 10_000);
    assert!(all.iter().all(|each| each.figures.requests_total == 294));
    let metrics = Metrics::default();
    metrics.service_figures(all.clone());
    let before = cpu();
    let (mut bytes, mut longest, mut families) = (0, 0, 0);
    for text in metrics.texts() {
        bytes += text.len();
        families += text.matches("# TYPE causeway_service_").count();
        longest = longest.max(text.capacity());
    }
    let shown = cpu() - before;
    println!(
        "10,000 backends: {} kB of CSV read in {spent} us of CPU, kept in {} kB; /metrics: {} kB in {shown} us of CPU, \
         at most {} kB of it in memory",
        text.len() / 1000,
        all.capacity() * size_of::<ServiceFigures>() / 1000,
        bytes / 1000,
        longest / 1000,
    );
    assert_eq!(families, 13, "each family says once what it is");
    assert!(longest * 20 < bytes, "the text of all services is never in memory at once");
}
