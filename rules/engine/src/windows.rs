//! Windows events as other tools write them, made flat, and the logsources they belong to.
//!
//! Field names are those of the event logs themselves, which Sigma's rules use. Which channel is which `service`, and
//! which Sysmon or PowerShell event which `category`, follows the logsource taxonomy of the Sigma project.

use serde_json::{Map, Value as Json};

/// Names of the System block that become fields; EventData may not speak for the first three.
const FROM_SYSTEM: [&str; 9] =
    ["EventID", "Channel", "Computer", "Level", "Task", "Opcode", "Keywords", "EventRecordID", "Version"];
/// How many of [`FROM_SYSTEM`] always come from the System block.
const ALWAYS_FROM_SYSTEM: usize = 3;

/// Channel and service, in lower case.
const CHANNELS: &[(&str, &str)] = &[
    ("application", "application"),
    ("security", "security"),
    ("system", "system"),
    ("windows powershell", "powershell-classic"),
    ("msexchange management", "msexchange-management"),
    ("dns server", "dns-server"),
    ("openssh/operational", "openssh"),
    ("powershellcore/operational", "powershell"),
    ("microsoft-iis-configuration/operational", "iis-configuration"),
    ("microsoft-servicebus-client/admin", "servicebus-client"),
    ("microsoft-servicebus-client/operational", "servicebus-client"),
    ("microsoft-windows-appmodel-runtime/admin", "appmodel-runtime"),
    ("microsoft-windows-application-experience/program-compatibility-assistant", "application-experience"),
    ("microsoft-windows-application-experience/program-telemetry", "application-experience"),
    ("microsoft-windows-applocker/exe and dll", "applocker"),
    ("microsoft-windows-applocker/msi and script", "applocker"),
    ("microsoft-windows-applocker/packaged app-deployment", "applocker"),
    ("microsoft-windows-applocker/packaged app-execution", "applocker"),
    ("microsoft-windows-appxdeploymentserver/operational", "appxdeployment-server"),
    ("microsoft-windows-appxpackaging/operational", "appxpackaging-om"),
    ("microsoft-windows-bitlocker/bitlocker management", "bitlocker"),
    ("microsoft-windows-bits-client/operational", "bits-client"),
    ("microsoft-windows-capi2/operational", "capi2"),
    ("microsoft-windows-certificateservicesclient-lifecycle-system/operational", "certificateservicesclient-lifecycle-system"),
    ("microsoft-windows-codeintegrity/operational", "codeintegrity-operational"),
    ("microsoft-windows-dhcp-server/operational", "dhcp"),
    ("microsoft-windows-diagnosis-scripted/operational", "diagnosis-scripted"),
    ("microsoft-windows-dns client events/operational", "dns-client"),
    ("microsoft-windows-dns-client/operational", "dns-client"),
    ("microsoft-windows-dns-server/audit", "dns-server-audit"),
    ("microsoft-windows-driverframeworks-usermode/operational", "driver-framework"),
    ("microsoft-windows-hyper-v-worker", "hyper-v-worker"),
    ("microsoft-windows-kernel-event-tracing", "kernel-event-tracing"),
    ("microsoft-windows-kernel-shimengine/diagnostic", "kernel-shimengine"),
    ("microsoft-windows-kernel-shimengine/operational", "kernel-shimengine"),
    ("microsoft-windows-ldap-client/debug", "ldap"),
    ("microsoft-windows-lsa/operational", "lsa-server"),
    ("microsoft-windows-ntfs/operational", "ntfs"),
    ("microsoft-windows-ntlm/operational", "ntlm"),
    ("microsoft-windows-powershell/operational", "powershell"),
    ("microsoft-windows-printservice/admin", "printservice-admin"),
    ("microsoft-windows-printservice/operational", "printservice-operational"),
    ("microsoft-windows-security-mitigations/kernel mode", "security-mitigations"),
    ("microsoft-windows-security-mitigations/user mode", "security-mitigations"),
    ("microsoft-windows-sense/operational", "sense"),
    ("microsoft-windows-shell-core/operational", "shell-core"),
    ("microsoft-windows-smbclient/connectivity", "smbclient-connectivity"),
    ("microsoft-windows-smbclient/security", "smbclient-security"),
    ("microsoft-windows-smbserver/connectivity", "smbserver-connectivity"),
    ("microsoft-windows-sysmon/operational", "sysmon"),
    ("microsoft-windows-taskscheduler/operational", "taskscheduler"),
    ("microsoft-windows-terminalservices-localsessionmanager/operational", "terminalservices-localsessionmanager"),
    ("microsoft-windows-vhdmp/operational", "vhdmp"),
    ("microsoft-windows-windows defender/operational", "windefend"),
    ("microsoft-windows-windows firewall with advanced security/firewall", "firewall-as"),
    ("microsoft-windows-wmi-activity/operational", "wmi"),
];

/// One way to see an event: the service and category whose rules judge it, and names it gets for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Service; none for an unknown channel.
    pub service: Option<&'static str>,
    /// Category, where the event has one.
    pub category: Option<&'static str>,
    /// Fields that get a second name in this view: (new, existing).
    pub renamed: &'static [(&'static str, &'static str)],
}

/// Second names that fields get, in whatever view: (new, existing).
pub const SECOND_NAMES: [(&str, &str); 6] =
    [OF_FORWARDERS[0], OF_FORWARDERS[1], OF_NEW_PROCESSES[0], OF_NEW_PROCESSES[1], OF_ANTIVIRUS[0], OF_ANTIVIRUS[1]];
/// What log forwarders call otherwise than the event log does: (new, existing).
pub const OF_FORWARDERS: [(&str, &str); 2] = [("Provider_Name", "SourceName"), ("Computer", "Hostname")];
/// What the security log calls otherwise than Sysmon does.
const OF_NEW_PROCESSES: [(&str, &str); 2] = [("Image", "NewProcessName"), ("ParentImage", "ParentProcessName")];
/// What Defender calls otherwise than rules for any antivirus do.
const OF_ANTIVIRUS: [(&str, &str); 2] = [("Signature", "ThreatName"), ("Filename", "Path")];

/// The event as a flat object. Understood are the Event/System/EventData tree, flat objects of log forwarders, and
/// Winlogbeat 6; anything else is taken as it is, without its objects.
pub fn flatten(event: &Map<String, Json>) -> Map<String, Json> {
    let inner = event.get("Event").and_then(Json::as_object).unwrap_or(event);
    if let Some(system) = inner.get("System").and_then(Json::as_object) {
        return from_tree(inner, system);
    }
    if event.contains_key("event_data") || (event.contains_key("log_name") && event.contains_key("event_id")) {
        return from_winlogbeat(event);
    }
    let mut flat: Map<String, Json> = event.iter().filter_map(|(name, value)| Some((name.clone(), scalar(value)?))).collect();
    OF_FORWARDERS.iter().for_each(|(new, existing)| copy(&mut flat, existing, new));
    spaceless(&mut flat);
    flat
}

fn from_tree(event: &Map<String, Json>, system: &Map<String, Json>) -> Map<String, Json> {
    let mut flat = Map::new();
    if let Some(data) = event.get("EventData").and_then(Json::as_object) {
        take_data(&mut flat, data);
    }
    for element in event.get("UserData").and_then(Json::as_object).into_iter().flat_map(Map::values) {
        if let Some(data) = element.as_object() {
            take_data(&mut flat, data);
        }
    }
    for (index, name) in FROM_SYSTEM.iter().enumerate() {
        let Some(value) = system.get(*name).and_then(scalar) else { continue };
        if index < ALWAYS_FROM_SYSTEM || !flat.contains_key(*name) {
            flat.insert((*name).into(), value);
        }
    }
    for (element, attribute, name) in [("Provider", "Name", "Provider_Name"), ("Security", "UserID", "UserID")] {
        let found = system.get(element).and_then(|element| element.get("#attributes")?.get(attribute)).and_then(scalar);
        if let Some(value) = found {
            flat.entry(name).or_insert(value);
        }
    }
    spaceless(&mut flat);
    flat
}

fn take_data(flat: &mut Map<String, Json>, data: &Map<String, Json>) {
    for (name, value) in data.iter().filter(|(name, _)| *name != "#attributes") {
        if let Some(value) = scalar(value) {
            flat.insert(name.clone(), value);
        }
    }
}

fn from_winlogbeat(event: &Map<String, Json>) -> Map<String, Json> {
    let mut flat = Map::new();
    for block in ["event_data", "user_data"] {
        if let Some(data) = event.get(block).and_then(Json::as_object) {
            take_data(&mut flat, data);
        }
    }
    for (from, to) in
        [("event_id", "EventID"), ("log_name", "Channel"), ("computer_name", "Computer"), ("source_name", "Provider_Name")]
    {
        if let Some(value) = event.get(from).and_then(scalar) {
            flat.insert(to.into(), value);
        }
    }
    spaceless(&mut flat);
    flat
}

/// A value without inner structure: an element's text, a list joined by line breaks; none for other objects.
fn scalar(value: &Json) -> Option<Json> {
    match value {
        Json::Object(object) => object.get("#text").and_then(scalar),
        Json::Array(list) => {
            let texts = list.iter().filter_map(scalar).map(|value| match value {
                Json::String(text) => text,
                Json::Null => String::new(),
                other => other.to_string(),
            });
            Some(texts.collect::<Vec<_>>().join("\n").into())
        }
        other => Some(other.clone()),
    }
}

/// A name with spaces also stands without them: rules are written so (`Threat Name` of Defender's log).
fn spaceless(flat: &mut Map<String, Json>) {
    let spaced: Vec<(String, Json)> =
        flat.iter().filter(|(name, _)| name.contains(' ')).map(|(name, value)| (name.replace(' ', ""), value.clone())).collect();
    for (name, value) in spaced {
        flat.entry(name).or_insert(value);
    }
}

fn copy(flat: &mut Map<String, Json>, from: &str, to: &str) {
    if let Some(value) = flat.get(from).cloned() {
        flat.entry(to).or_insert(value);
    }
}

/// The service of a channel.
pub fn service(channel: &str) -> Option<&'static str> {
    let channel = channel.to_ascii_lowercase();
    CHANNELS.iter().find(|(known, _)| *known == channel).map(|(_, service)| *service)
}

/// How rules may see a flat event: always once by its service, and once more for each category it has.
pub fn views(event: &Map<String, Json>) -> Vec<View> {
    let service = event.get("Channel").and_then(Json::as_str).and_then(service);
    let id = event.get("EventID").and_then(|id| id.as_u64().or_else(|| id.as_str()?.trim().parse().ok()));
    let kind = event.get("EventType").and_then(Json::as_str).unwrap_or_default();
    let categories = service.zip(id).map_or(&[][..], |(service, id)| categories(service, id, kind));
    let renamed = |category: &str| match (service, category) {
        (Some("security"), "process_creation") => &OF_NEW_PROCESSES[..],
        (Some("windefend"), "antivirus") => &OF_ANTIVIRUS[..],
        _ => &[][..],
    };
    if categories.is_empty() {
        return vec![View { service, category: None, renamed: &[] }];
    }
    categories.iter().map(|category| View { service, category: Some(category), renamed: renamed(category) }).collect()
}

fn categories(service: &str, id: u64, kind: &str) -> &'static [&'static str] {
    match service {
        "sysmon" => sysmon(id, kind),
        "security" if id == 4688 => &["process_creation"],
        "powershell" => match id {
            4103 => &["ps_module"],
            4104 => &["ps_script"],
            _ => &[],
        },
        "powershell-classic" => match id {
            400 => &["ps_classic_start"],
            600 => &["ps_classic_provider_start"],
            800 => &["ps_classic_script"],
            _ => &[],
        },
        "windefend" if matches!(id, 1006..=1012 | 1017..=1019 | 1115 | 1116) => &["antivirus"],
        _ => &[],
    }
}

fn sysmon(id: u64, kind: &str) -> &'static [&'static str] {
    match id {
        1 => &["process_creation"],
        2 => &["file_change"],
        3 => &["network_connection"],
        4 | 16 => &["sysmon_status"],
        5 => &["process_termination"],
        6 => &["driver_load"],
        7 => &["image_load"],
        8 => &["create_remote_thread"],
        9 => &["raw_access_thread"],
        10 => &["process_access"],
        11 => &["file_event"],
        12 => match kind {
            "CreateKey" => &["registry_event", "registry_add"],
            "DeleteKey" | "DeleteValue" => &["registry_event", "registry_delete"],
            _ => &["registry_event"],
        },
        13 => &["registry_event", "registry_set"],
        14 => &["registry_event", "registry_rename"],
        15 => &["create_stream_hash"],
        17 | 18 => &["pipe_created"],
        19..=21 => &["wmi_event"],
        22 => &["dns_query"],
        23 => &["file_delete"],
        24 => &["clipboard_change"],
        25 => &["process_tampering"],
        26 => &["file_delete_detected"],
        27 => &["file_block_executable"],
        28 => &["file_block_shredding"],
        29 => &["file_executable_detected"],
        255 => &["sysmon_error"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flat(value: Json) -> Map<String, Json> {
        flatten(value.as_object().unwrap())
    }

    #[test]
    fn a_tree_becomes_flat_and_the_system_block_speaks_for_itself() {
        let flat = flat(json!({"Event": {
            "System": {"EventID": {"#text": 1, "#attributes": {}}, "Channel": "Microsoft-Windows-Sysmon/Operational",
                "Computer": "pc", "Level": 4, "Provider": {"#attributes": {"Name": "P"}}},
            "EventData": {"Image": "C:\\x.exe", "Threat Name": "T", "Data": {"#text": ["a", "b"]}, "Level": "own", "EventID": 9}
        }}));
        assert_eq!(flat["EventID"], 1);
        assert_eq!(flat["Image"], "C:\\x.exe");
        assert_eq!(flat["Data"], "a\nb");
        assert_eq!(flat["ThreatName"], "T");
        assert_eq!(flat["Level"], "own");
        assert_eq!(flat["Provider_Name"], "P");
    }

    #[test]
    fn an_event_is_seen_once_for_each_category() {
        let event = flat(json!({"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": "13"}));
        let names: Vec<_> = views(&event).iter().map(|view| view.category).collect();
        assert_eq!(names, [Some("registry_event"), Some("registry_set")]);
        let unknown = flat(json!({"Channel": "Nothing", "EventID": 1}));
        assert_eq!(views(&unknown), [View { service: None, category: None, renamed: &[] }]);
    }

    #[test]
    fn channels_are_sorted_by_no_rule_but_named_once() {
        let mut names: Vec<&str> = CHANNELS.iter().map(|(channel, _)| *channel).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHANNELS.len());
    }
}
