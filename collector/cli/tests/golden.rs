//! What each verb prints, to the letter, against a stub of the API; and what it asked the API for.

mod common;

use common::{Stub, alert, gap, host};
use serde_json::{Value, json};

fn alerts() -> Stub {
    Stub::saying(
        json!({"alerts": [alert("0011223344556677", "sh -c id"), alert("8899aabbccddeeff", "-c \"a,b\"")], "total": 314, "next": null}),
    )
}

#[test]
fn alerts_as_a_table() {
    let stub = alerts();
    let ran = stub.run(&["alerts", "list", "-o", "table", "--level", "high", "--tenant", "interieur"]);
    assert_eq!(
        ran.out,
        "TIME                      LEVEL  TENANT     RULE                 HOST    USER    WHAT      COUNT  ID\n\
         2026-11-21 10:00:01.000Z  high   interieur  Java starts a shell  app-07  tomcat  sh -c id  2      001122334455\n\
         2026-11-21 10:00:01.000Z  high   interieur  Java starts a shell  app-07  tomcat  -c \"a,b\"  2      8899aabbccdd\n"
    );
    assert_eq!(ran.talk, "and 312 more (--limit, --since, --level)\n");
    let call = &stub.calls()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/v1/alerts"));
    assert_eq!(call.token, "Bearer 0123456789abcdef0123456789abcdef");
    for part in ["level=high", "tenant=interieur", "limit=50", "since="] {
        assert!(call.query.contains(part), "{call:?}");
    }
    assert!(!call.query.contains("host=") && !call.query.contains("until="), "{call:?}");
}

#[test]
fn alerts_as_csv() {
    assert_eq!(
        alerts().run(&["alerts", "list", "-o", "csv", "--tz", "Europe/Paris"]).out,
        "TIME,LEVEL,TENANT,RULE,HOST,USER,WHAT,COUNT,ID\n\
         2026-11-21 11:00:01.000 CET,high,interieur,Java starts a shell,app-07,tomcat,sh -c id,2,0011223344556677\n\
         2026-11-21 11:00:01.000 CET,high,interieur,Java starts a shell,app-07,tomcat,\"'-c \"\"a,b\"\"\",2,8899aabbccddeeff\n"
    );
}

#[test]
fn status_as_a_page() {
    let status = json!({"version": "0.1.0", "roles": [{"role": "gateway", "ready": true, "detail": "2 agents", "figures": [["certificate", "2026-12-01T00:00:00Z"]]},
        {"role": "store", "ready": false, "detail": "ClickHouse is away", "figures": []}],
        "lag": [{"topic": "events.v1", "group": "detect", "records": 12, "partitions": 4}], "bus_error": null,
        "last_batch": "2026-11-21T10:00:00.000000Z", "disk_free_bytes": 1_610_612_736_u64, "disk_total_bytes": 4_294_967_296_u64,
        "store": {"version": "25.8"}, "store_error": null});
    let ran = Stub::saying(status).run(&["status", "-o", "table"]);
    assert_eq!(
        ran.out,
        "ROLE     READY  DETAIL\n\
         gateway  true   2 agents\n\
         store    false  ClickHouse is away\n\n\
         ROLE     FIGURE       VALUE\n\
         gateway  certificate  2026-12-01T00:00:00Z\n\n\
         Lag\n\
         TOPIC      GROUP   LAG  PARTITIONS\n\
         events.v1  detect  12   4\n\n\
         Store\n  ClickHouse     25.8\n  Last batch     2026-11-21 10:00:00.000Z\n  Disk free      1.5 GiB\n  \
           Disk total     4.0 GiB\n  Collector      0.1.0\n"
    );
}
#[test]
fn a_host_as_a_page_with_its_gaps() {
    let stub =
        Stub::new(|call| (200, if call.path == "/v1/gaps" { json!({"gaps": [gap("kernel_drop")]}) } else { host("app-07") }));
    assert_eq!(
        stub.run(&["hosts", "show", "aabbcc", "-o", "table"]).out,
        "  Host           app-07\n  Tenant         interieur\n  Agent          aabbccddeeff00112233445566778899\n  \
           Labels         site=lyon\n  Enrolled       2026-11-20 10:00:00.000Z\n  Certificate    2026-11-27 10:00:00.000Z\n  \
           Last seen      2026-11-21 10:00:00.000Z\n  System         Debian GNU/Linux 12\n  Kernel         6.1.0\n  \
           Architecture   x86_64\n  Agent version  0.1.0\n  Address        192.0.2.7\n  Addresses      10.0.0.7\n  \
           Run            00\n  Policy         0\n  Dropped        3\n  Counters       scanned=4\n  Spool          4.0 KiB\n  \
           Memory         1.0 MiB\n  REVOKED        2026-11-21 11:00:00.000Z by admin: stolen\n\n\
         Probes\n\
         HOOK  ON    SEEN  DROPPED  WHY\n\
         exec  true  10    3\n\n\
         Gaps of the last 7d\n\
         FROM                      TO                        REASON       LOST  HOOK  TENANT     HOST    ID\n\
         2026-11-21 10:00:00.000Z  2026-11-21 10:00:05.000Z  kernel_drop  3     exec  interieur  app-07  aabbccddeeff\n"
    );
}
#[test]
fn tokens_as_a_table() {
    let tokens = json!({"tokens": [{"token_id": "0011223344556677", "tenant": "interieur", "uses": 5, "used": 2,
        "created": "2026-11-21T10:00:00.000000Z", "by": "admin", "expires": "2026-11-22T10:00:00.000000Z", "expired": false,
        "revoked": false, "cidrs": [], "labels": {}}]});
    assert_eq!(
        Stub::saying(tokens).run(&["enroll", "list", "-o", "table"]).out,
        "TOKEN             TENANT     USED  USES  CREATED                   EXPIRES                   EXPIRED  REVOKED  BY\n\
         0011223344556677  interieur  2     5     2026-11-21 10:00:00.000Z  2026-11-22 10:00:00.000Z  false    false    admin\n"
    );
}

#[test]
fn alerts_as_json_and_ndjson_are_what_the_api_said() {
    let stub = alerts();
    let said = json!([alert("0011223344556677", "sh -c id"), alert("8899aabbccddeeff", "-c \"a,b\"")]);
    let ran = stub.run(&["alerts", "list", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), said);
    let ran = stub.run(&["alerts", "list", "-o", "ndjson"]);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), said);
}

#[test]
fn a_host_asks_for_the_gaps_of_its_whole_id() {
    let stub = Stub::new(|call| (200, if call.path == "/v1/gaps" { json!({"gaps": [gap("stopped")]}) } else { host("app-07") }));
    let ran = stub.run(&["hosts", "show", "app/07", "-o", "json"]);
    let host: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&host["gaps"][0]["reason"], &host["revoked"]["by"]), (&json!("stopped"), &json!("admin")));
    let calls = stub.calls();
    assert_eq!(calls[0].path, "/v1/hosts/app%2F07");
    assert!(calls[1].query.contains("host=aabbccddeeff00112233445566778899"), "{calls:?}");
}

#[test]
fn a_host_in_a_spreadsheet_is_a_line_for_each_field() {
    let stub = Stub::new(|call| (200, if call.path == "/v1/gaps" { json!({"gaps": []}) } else { host("=app") }));
    let out = stub.run(&["hosts", "show", "ab", "-o", "csv"]).out;
    for line in [
        "field,value",
        "hostname,'=app",
        "labels/site,lyon",
        "hooks/0/name,exec",
        "revoked/at,2026-11-21 11:00:00.000Z",
        "dropped,3",
    ] {
        assert!(out.lines().any(|own| own == line), "{line} is not in\n{out}");
    }
}

#[test]
fn a_search_asks_as_it_was_typed() {
    let stub = Stub::saying(json!({"groups": [{"value": "/opt/java", "count": 7}]}));
    let ran = stub.run(&[
        "events",
        "search",
        "Image=*/java",
        "CommandLine~base64",
        "--since",
        "7d",
        "--tenant",
        "t",
        "--host",
        "h",
        "--by",
        "Image",
        "--count",
        "--limit",
        "200",
        "-o",
        "table",
    ]);
    assert_eq!(ran.out, "COUNT  VALUE\n7      /opt/java\n");
    let body = &stub.calls()[0].body;
    assert_eq!(
        body["filters"],
        json!([{"field": "Image", "op": "glob", "value": "*/java"}, {"field": "CommandLine", "op": "contains", "value": "base64"}])
    );
    assert_eq!(
        (&body["by"], &body["limit"], &body["tenant"], &body["host"]),
        (&json!("Image"), &json!(200), &json!("t"), &json!("h"))
    );
}
