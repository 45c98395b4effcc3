//! The documents for app and firmware engineers say what the program does: channels, errors, close codes and bounds
//! are compared with the configuration and the protocol's own lists, the methods with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keyway_protocol::ERRORS;
use keyway_protocol::close::CLOSES;
use ws_gateway::Config;
use ws_gateway::limits::Limits;
use ws_gateway::namespace::ChannelOptions;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of every row below the heading line that starts with `head`.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table under {head:?}");
    rows
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn catalogue() -> BTreeMap<String, ChannelOptions> {
    Config::load(None, [("KEYWAY_GATEWAY_ANONYMOUS".to_owned(), "true".to_owned())]).unwrap().namespaces
}

/// `none`, `latest`, or how much is kept for how long.
fn history(options: &ChannelOptions) -> String {
    let kept_for = match options.history_ttl_s {
        0 => return "none".to_owned(),
        3_600 => "one hour",
        86_400 => "one day",
        other if options.cache && other > 0 => return "latest".to_owned(),
        other => panic!("the documents have no word for {other} s"),
    };
    format!("{} publications, {kept_for}", options.history_size)
}

fn namespace_of(channel: &str) -> String {
    if channel.starts_with('#') { "#".to_owned() } else { channel.split(':').next().unwrap().to_owned() }
}

#[test]
fn channels() {
    let expected: BTreeMap<String, String> =
        catalogue().iter().map(|(name, options)| (name.clone(), history(options))).collect();

    let mut told = BTreeMap::new();
    for row in table(&read("protocol.md"), "| channel | what comes") {
        for channel in quoted(&row[0]) {
            told.insert(namespace_of(&channel), row[2].clone());
        }
    }
    assert_eq!(told.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "protocol.md");
    for (name, kept) in &expected {
        let said =
            told[name].replace("(300, ", "(300 publications, ").replace("(100, ", "(100 publications, ");
        assert!(said.contains(kept.as_str()), "protocol.md: {name} is kept {kept}, not {said:?}");
    }

    let asyncapi = read("asyncapi.yaml");
    let value = |line: &str, key: &str| {
        line.trim().strip_prefix(key).map(|rest| rest.trim().trim_matches(['\'', '"']).to_owned())
    };
    let (mut address, mut described) = (String::new(), BTreeMap::new());
    for line in asyncapi.lines() {
        address = value(line, "address:").unwrap_or(address);
        if let Some(kept) = value(line, "x-history:") {
            described.insert(namespace_of(&address), kept);
        }
    }
    assert_eq!(described, expected, "asyncapi.yaml");
}

#[test]
fn methods() {
    let told: BTreeSet<String> =
        table(&read("protocol.md"), "| method | from").iter().flat_map(|row| quoted(&row[0])).collect();
    let described: BTreeSet<String> = read("asyncapi.yaml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("address: '"))
        .map(|address| address.trim_end_matches('\'').to_owned())
        .filter(|address| !address.contains('{'))
        .collect();
    assert_eq!(told, described, "protocol.md and asyncapi.yaml");
}

#[test]
fn errors() {
    let text = read("protocol.md");
    let told: BTreeMap<u32, bool> = table(&text, "| error | meaning")
        .iter()
        .filter_map(|row| Some((row[0].parse().ok()?, row[2] == "yes")))
        .collect();
    for (code, message, temporary) in ERRORS {
        assert_eq!(told.get(code), Some(temporary), "protocol.md: error {code} {message}, temporary?");
    }
    assert_eq!(told.len(), ERRORS.len(), "an error that does not exist");
}

#[test]
fn closes() {
    let told: BTreeMap<u16, bool> = table(&read("protocol.md"), "| close | meaning")
        .iter()
        .filter_map(|row| Some((row[0].parse().ok()?, !row[2].contains("no"))))
        .collect();
    for close in CLOSES {
        assert_eq!(
            told.get(&close.code),
            Some(&!close.is_terminal()),
            "protocol.md: close {} {}, reconnect?",
            close.code,
            close.reason
        );
    }
    assert_eq!(told.len(), CLOSES.len(), "a close that does not exist");
}

#[test]
fn bounds() {
    let limits = Limits::default();
    let rows = table(&read("gateway.md"), "| bound | default");
    for (bound, value) in [
        ("frame", format!("{} KiB", limits.frame_bytes_max / 1024)),
        ("channels a client", limits.channels_max.to_string()),
        ("connect within", format!("{} s", limits.connect_within_ms / 1000)),
        (
            "pong within",
            format!(
                "{} s after a ping every {} s",
                limits.pong_within_ms / 1000,
                limits.ping_interval_ms / 1000
            ),
        ),
        ("outbound queue", format!("{} MiB", limits.queue_bytes_max / 1024 / 1024)),
        ("recovery", format!("{} publications", limits.recovery_publications_max)),
        ("recovery in bytes", format!("{} MiB", limits.recovery_bytes_max / 1024 / 1024)),
        ("calls in flight", limits.calls_in_flight_max.to_string()),
        ("answer to a call", format!("{} s", limits.call_deadline_ms / 1000)),
        ("commands of a connection", rate(limits.commands_per_s, limits.commands_burst)),
        ("commands of a user", rate(limits.user_commands_per_s, limits.user_commands_burst)),
        ("commands waiting on one connection", limits.waiting_commands_max.to_string()),
        ("sockets of a node", grouped(limits.connections_max as u64)),
        ("connections of a user", limits.user_connections_max.to_string()),
        ("upgrades", rate(limits.accepts_per_s, limits.accepts_burst)),
    ] {
        let row =
            rows.iter().find(|row| row[0] == bound).unwrap_or_else(|| panic!("gateway.md: no {bound:?}"));
        assert!(row[1].starts_with(&value), "gateway.md: {bound} is {value}, not {}", row[1]);
    }
}

fn grouped(number: u64) -> String {
    if number >= 1000 { format!("{},{:03}", number / 1000, number % 1000) } else { number.to_string() }
}

fn rate(per_s: u32, burst: u32) -> String {
    format!("{}/s, burst {}", grouped(per_s.into()), grouped(burst.into()))
}
