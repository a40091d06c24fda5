//! Names of ATT&CK tactics and of the techniques seen on Linux, so that an alert can be read without the website.
//!
//! Ids follow ATT&CK v19 (2026), which renamed TA0005 to Stealth and added Defense Impairment; the older tag
//! `defense-evasion` still names TA0005, and the ids that v19 withdrew keep their old names.

use beffroi_schema::alert::Attack;

/// (tag, id, name) of every tactic.
const TACTICS: &[(&str, &str, &str)] = &[
    ("reconnaissance", "TA0043", "Reconnaissance"),
    ("resource-development", "TA0042", "Resource Development"),
    ("initial-access", "TA0001", "Initial Access"),
    ("execution", "TA0002", "Execution"),
    ("persistence", "TA0003", "Persistence"),
    ("privilege-escalation", "TA0004", "Privilege Escalation"),
    ("stealth", "TA0005", "Stealth"),
    ("defense-evasion", "TA0005", "Stealth"),
    ("defense-impairment", "TA0112", "Defense Impairment"),
    ("credential-access", "TA0006", "Credential Access"),
    ("discovery", "TA0007", "Discovery"),
    ("lateral-movement", "TA0008", "Lateral Movement"),
    ("collection", "TA0009", "Collection"),
    ("command-and-control", "TA0011", "Command and Control"),
    ("exfiltration", "TA0010", "Exfiltration"),
    ("impact", "TA0040", "Impact"),
];

/// (id, name), sorted by id.
const TECHNIQUES: &[(&str, &str)] = &[
    ("T1003", "OS Credential Dumping"),
    ("T1003.007", "Proc Filesystem"),
    ("T1003.008", "/etc/passwd and /etc/shadow"),
    ("T1005", "Data from Local System"),
    ("T1007", "System Service Discovery"),
    ("T1014", "Rootkit"),
    ("T1016", "System Network Configuration Discovery"),
    ("T1018", "Remote System Discovery"),
    ("T1021.004", "SSH"),
    ("T1027", "Obfuscated Files or Information"),
    ("T1027.002", "Software Packing"),
    ("T1030", "Data Transfer Size Limits"),
    ("T1033", "System Owner/User Discovery"),
    ("T1036", "Masquerading"),
    ("T1036.004", "Masquerade Task or Service"),
    ("T1036.005", "Match Legitimate Resource Name or Location"),
    ("T1037.004", "RC Scripts"),
    ("T1040", "Network Sniffing"),
    ("T1041", "Exfiltration Over C2 Channel"),
    ("T1046", "Network Service Discovery"),
    ("T1048", "Exfiltration Over Alternative Protocol"),
    ("T1048.003", "Exfiltration Over Unencrypted Non-C2 Protocol"),
    ("T1049", "System Network Connections Discovery"),
    ("T1053", "Scheduled Task/Job"),
    ("T1053.002", "At"),
    ("T1053.003", "Cron"),
    ("T1053.006", "Systemd Timers"),
    ("T1055", "Process Injection"),
    ("T1055.008", "Ptrace System Calls"),
    ("T1055.009", "Proc Memory"),
    ("T1057", "Process Discovery"),
    ("T1059", "Command and Scripting Interpreter"),
    ("T1059.004", "Unix Shell"),
    ("T1059.006", "Python"),
    ("T1068", "Exploitation for Privilege Escalation"),
    ("T1069.001", "Local Groups"),
    ("T1070", "Indicator Removal"),
    ("T1070.002", "Clear Linux or Mac System Logs"),
    ("T1070.003", "Clear Command History"),
    ("T1070.004", "File Deletion"),
    ("T1070.006", "Timestomp"),
    ("T1071", "Application Layer Protocol"),
    ("T1071.001", "Web Protocols"),
    ("T1071.004", "DNS"),
    ("T1074.001", "Local Data Staging"),
    ("T1078", "Valid Accounts"),
    ("T1082", "System Information Discovery"),
    ("T1083", "File and Directory Discovery"),
    ("T1087.001", "Local Account"),
    ("T1090", "Proxy"),
    ("T1090.003", "Multi-hop Proxy"),
    ("T1095", "Non-Application Layer Protocol"),
    ("T1098", "Account Manipulation"),
    ("T1098.004", "SSH Authorized Keys"),
    ("T1102", "Web Service"),
    ("T1105", "Ingress Tool Transfer"),
    ("T1110", "Brute Force"),
    ("T1136", "Create Account"),
    ("T1136.001", "Local Account"),
    ("T1140", "Deobfuscate/Decode Files or Information"),
    ("T1190", "Exploit Public-Facing Application"),
    ("T1201", "Password Policy Discovery"),
    ("T1203", "Exploitation for Client Execution"),
    ("T1204.002", "Malicious File"),
    ("T1210", "Exploitation of Remote Services"),
    ("T1219", "Remote Access Tools"),
    ("T1222.002", "Linux and Mac File and Directory Permissions Modification"),
    ("T1485", "Data Destruction"),
    ("T1486", "Data Encrypted for Impact"),
    ("T1489", "Service Stop"),
    ("T1490", "Inhibit System Recovery"),
    ("T1496", "Resource Hijacking"),
    ("T1496.001", "Compute Hijacking"),
    ("T1505.003", "Web Shell"),
    ("T1528", "Steal Application Access Token"),
    ("T1529", "System Shutdown/Reboot"),
    ("T1531", "Account Access Removal"),
    ("T1539", "Steal Web Session Cookie"),
    ("T1543.002", "Systemd Service"),
    ("T1546", "Event Triggered Execution"),
    ("T1546.004", "Unix Shell Configuration Modification"),
    ("T1546.016", "Installer Packages"),
    ("T1546.017", "Udev Rules"),
    ("T1547.006", "Kernel Modules and Extensions"),
    ("T1547.013", "XDG Autostart Entries"),
    ("T1548", "Abuse Elevation Control Mechanism"),
    ("T1548.001", "Setuid and Setgid"),
    ("T1548.003", "Sudo and Sudo Caching"),
    ("T1552", "Unsecured Credentials"),
    ("T1552.001", "Credentials In Files"),
    ("T1552.003", "Shell History"),
    ("T1552.004", "Private Keys"),
    ("T1552.005", "Cloud Instance Metadata API"),
    ("T1553.004", "Install Root Certificate"),
    ("T1554", "Compromise Host Software Binary"),
    ("T1555", "Credentials from Password Stores"),
    ("T1555.003", "Credentials from Web Browsers"),
    ("T1556", "Modify Authentication Process"),
    ("T1556.003", "Pluggable Authentication Modules"),
    ("T1558.005", "Ccache Files"),
    ("T1560.001", "Archive via Utility"),
    ("T1561.001", "Disk Content Wipe"),
    ("T1561.002", "Disk Structure Wipe"),
    ("T1562", "Impair Defenses"),
    ("T1562.001", "Disable or Modify Tools"),
    ("T1562.003", "Impair Command History Logging"),
    ("T1562.004", "Disable or Modify System Firewall"),
    ("T1562.012", "Disable or Modify Linux Audit System"),
    ("T1564", "Hide Artifacts"),
    ("T1564.001", "Hidden Files and Directories"),
    ("T1564.013", "Bind Mounts"),
    ("T1565.001", "Stored Data Manipulation"),
    ("T1567", "Exfiltration Over Web Service"),
    ("T1567.002", "Exfiltration to Cloud Storage"),
    ("T1568.002", "Domain Generation Algorithms"),
    ("T1571", "Non-Standard Port"),
    ("T1572", "Protocol Tunneling"),
    ("T1573", "Encrypted Channel"),
    ("T1574.006", "Dynamic Linker Hijacking"),
    ("T1588.001", "Malware"),
    ("T1588.002", "Tool"),
    ("T1595", "Active Scanning"),
    ("T1609", "Container Administration Command"),
    ("T1610", "Deploy Container"),
    ("T1611", "Escape to Host"),
    ("T1613", "Container and Resource Discovery"),
    ("T1620", "Reflective Code Loading"),
    ("T1685", "Disable or Modify Tools"),
    ("T1685.006", "Clear Linux or Mac System Logs"),
    ("T1686", "Disable or Modify System Firewall"),
];

/// Tactics and techniques named by the `attack.` tags of a rule, in their order, each once. Other `attack.` tags
/// (groups, software) are left to the tags themselves.
pub fn of_tags(tags: &[String]) -> Vec<Attack> {
    let mut found: Vec<Attack> = Vec::new();
    for tag in tags {
        let tag = tag.to_ascii_lowercase().replace('_', "-");
        if let Some(attack) = tag.strip_prefix("attack.").and_then(of_tag)
            && !found.iter().any(|known| known.id == attack.id)
        {
            found.push(attack);
        }
    }
    found
}

fn of_tag(tag: &str) -> Option<Attack> {
    if let Some((_, id, name)) = TACTICS.iter().find(|(known, ..)| *known == tag) {
        return Some(Attack { id: (*id).into(), name: (*name).into() });
    }
    let number = tag.strip_prefix('t')?;
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let id = format!("T{number}");
    let name = name(&id).unwrap_or_default().into();
    Some(Attack { id, name })
}

/// The name of a technique or tactic; none where this version does not know it.
pub fn name(id: &str) -> Option<&'static str> {
    if let Some((_, _, name)) = TACTICS.iter().find(|(_, known, _)| *known == id) {
        return Some(name);
    }
    TECHNIQUES.binary_search_by_key(&id, |(known, _)| known).ok().map(|at| TECHNIQUES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_sorted_so_that_each_is_found() {
        assert!(TECHNIQUES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TECHNIQUES.iter().all(|(id, known)| name(id) == Some(*known)));
    }

    #[test]
    fn tags_become_named_ids_and_other_tags_do_not() {
        let tags =
            ["attack.execution", "attack.t1059.004", "attack.defense_evasion", "attack.g0016", "cve.2021-44228", "attack.t9999"];
        let found = of_tags(&tags.map(String::from));
        let pairs: Vec<(&str, &str)> = found.iter().map(|attack| (attack.id.as_str(), attack.name.as_str())).collect();
        assert_eq!(pairs, [("TA0002", "Execution"), ("T1059.004", "Unix Shell"), ("TA0005", "Stealth"), ("T9999", "")]);
    }
}
