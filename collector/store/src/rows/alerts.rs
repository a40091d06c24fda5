//! Rows of `matches`: what lists and dashboards filter on as columns, the whole match as its JSON.

use beffroi_schema::alert::{Level, Match};

use super::binary::{byte, text, texts, time};

pub(crate) const MATCH_COLUMNS: &str = "tenant, alert_id, match_id, group_key, bucket, agent, host, level, rule_id, rule_title, \
                                        rule_version, rule_sha256, attack, category, event_time, received_at, detected_at, \
                                        stored_at, clock_suspect, replayed, user, login_user, image, command_line, what, \
                                        process_guid, event_ids, document";

/// Number of a level in the table, lowest 1.
pub(crate) fn level_number(level: Level) -> u8 {
    level as u8 + 1
}

/// The level of a number of the table.
pub(crate) fn level_name(number: u64) -> &'static str {
    Level::ALL.iter().find(|level| u64::from(level_number(**level)) == number).map_or("unknown", |level| level.name())
}

/// Writes one row.
pub(crate) fn row(out: &mut Vec<u8>, found: &Match, document: &[u8], stored_at: i64) {
    text(out, &found.tenant);
    text(out, found.alert_id.to_string());
    text(out, found.match_id.to_string());
    text(out, &found.group_key);
    time(out, found.bucket);
    text(out, found.host.agent_id.to_string());
    text(out, &found.host.info.hostname);
    byte(out, level_number(found.rule.level));
    text(out, &found.rule.id);
    text(out, &found.rule.title);
    text(out, &found.rule.version);
    text(out, &found.rule.sha256);
    texts(out, &found.rule.attack.iter().map(|attack| attack.id.as_str()).collect::<Vec<_>>());
    text(out, &found.category);
    time(out, found.event_time);
    time(out, crate::time::clamp_received(found.received_at));
    time(out, found.detected_at);
    time(out, stored_at);
    byte(out, found.clock_suspect);
    byte(out, found.replayed);
    text(out, &found.user);
    text(out, &found.login_user);
    text(out, &found.image);
    text(out, &found.command_line);
    text(out, &found.what);
    text(out, &found.process_guid);
    texts(out, &found.event_ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    text(out, document);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_survives_its_number() {
        for level in Level::ALL {
            assert_eq!(level_name(u64::from(level_number(level))), level.name());
        }
        assert_eq!(level_name(0), "unknown");
    }
}
