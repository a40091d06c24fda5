//! The tree of a process: its ancestors as far as they are known, its descendants by levels, both bounded.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::{Param, Sql};

/// Levels below the process.
const MAX_DEPTH: usize = 16;
/// Processes of one tree.
const MAX_NODES: usize = 1_000;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessNode {
    /// GUID.
    pub guid: String,
    /// GUID of its parent; empty where unknown.
    pub parent_guid: String,
    /// Distance from the process asked for: negative for ancestors.
    pub depth: i32,
    /// Executable.
    pub image: String,
    /// Command line.
    pub command_line: String,
    /// Process id.
    pub pid: Option<u64>,
    /// User.
    pub user: String,
    /// When it started (RFC 3339); empty for an ancestor that started before the sensor.
    pub ts: String,
    /// Its event; empty likewise.
    pub event_id: String,
}

/// A tree, ancestors first, then the process, then its descendants level by level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessTree {
    /// Tenant.
    pub tenant: String,
    /// Agent id.
    pub agent_id: String,
    /// Host name.
    pub hostname: String,
    /// The process asked for.
    pub guid: String,
    /// Processes.
    pub nodes: Vec<ProcessNode>,
    /// Whether there is more than the limits let through.
    pub truncated: bool,
}

#[derive(Deserialize)]
struct Line {
    tenant: String,
    agent: String,
    host: String,
    guid: String,
    parent_guid: String,
    image: String,
    command_line: String,
    pid: Option<u64>,
    user: String,
    ts: String,
    event_id: String,
    ancestor_guids: Vec<String>,
    ancestor_images: Vec<String>,
    ancestor_command_lines: Vec<String>,
}

impl Line {
    fn node(&self, depth: i32) -> ProcessNode {
        ProcessNode {
            guid: self.guid.clone(),
            parent_guid: self.parent_guid.clone(),
            depth,
            image: self.image.clone(),
            command_line: self.command_line.clone(),
            pid: self.pid,
            user: self.user.clone(),
            ts: self.ts.clone(),
            event_id: self.event_id.clone(),
        }
    }
}

/// A process may execute several programs: the last one before its end stands for it.
const LINES: &str = "SELECT tenant, agent, host, ProcessGuid AS guid, ParentProcessGuid AS parent_guid, Image AS image,
        CommandLine AS command_line, ProcessId AS pid, User AS user, ts, event_id, AncestorGuids AS ancestor_guids,
        AncestorImages AS ancestor_images, AncestorCommandLines AS ancestor_command_lines
    FROM events_v WHERE {scope} AND category = 'process_creation'";

impl Store {
    /// The tree around a process; none when the scope does not know it.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn process_tree(&self, scope: &TenantScope, guid: &str) -> Result<Option<ProcessTree>, StoreError> {
        let guid = guid.to_ascii_lowercase();
        let Some(center) = self.processes(scope, None, "ProcessGuid", vec![guid.clone()]).await?.into_iter().next() else {
            return Ok(None);
        };
        let mut tree = ProcessTree {
            tenant: center.tenant.clone(),
            agent_id: center.agent.clone(),
            hostname: center.host.clone(),
            guid,
            nodes: self.ancestors(scope, &center).await?,
            truncated: false,
        };
        tree.nodes.push(center.node(0));
        self.descendants(scope, &mut tree).await?;
        Ok(Some(tree))
    }

    async fn ancestors(&self, scope: &TenantScope, center: &Line) -> Result<Vec<ProcessNode>, StoreError> {
        let mut guids = center.ancestor_guids.clone();
        if guids.is_empty() && !center.parent_guid.is_empty() {
            guids.push(center.parent_guid.clone());
        }
        let known = self.processes(scope, Some(&center.agent), "ProcessGuid", guids.clone()).await?;
        let at = |list: &[String], index: usize| list.get(index).cloned().unwrap_or_default();
        let node = |(index, guid): (usize, &String)| {
            let depth = -(index as i32) - 1;
            match known.iter().find(|line| line.guid == *guid) {
                Some(line) => line.node(depth),
                None => ProcessNode {
                    guid: guid.clone(),
                    parent_guid: at(&guids, index + 1),
                    depth,
                    image: at(&center.ancestor_images, index),
                    command_line: at(&center.ancestor_command_lines, index),
                    pid: None,
                    user: String::new(),
                    ts: String::new(),
                    event_id: String::new(),
                },
            }
        };
        Ok(guids.iter().enumerate().map(node).rev().collect())
    }

    async fn descendants(&self, scope: &TenantScope, tree: &mut ProcessTree) -> Result<(), StoreError> {
        let mut seen: HashSet<String> = tree.nodes.iter().map(|node| node.guid.clone()).collect();
        let mut level = vec![tree.guid.clone()];
        for depth in 1..=MAX_DEPTH {
            let agent = tree.agent_id.clone();
            let children = self.processes(scope, Some(&agent), "ParentProcessGuid", std::mem::take(&mut level)).await?;
            for child in children {
                if !seen.insert(child.guid.clone()) {
                    continue;
                }
                if tree.nodes.len() >= MAX_NODES {
                    tree.truncated = true;
                    return Ok(());
                }
                tree.nodes.push(child.node(depth as i32));
                level.push(child.guid);
            }
            if level.is_empty() {
                return Ok(());
            }
        }
        tree.truncated = true;
        Ok(())
    }

    async fn processes(
        &self,
        scope: &TenantScope,
        agent: Option<&str>,
        column: &'static str,
        guids: Vec<String>,
    ) -> Result<Vec<Line>, StoreError> {
        if guids.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = Sql::scoped("processes", scope, LINES);
        if let Some(agent) = agent {
            sql.push(" AND agent = ").text(agent);
        }
        sql.push(" AND has(").bind(Param::Texts(guids)).push(", ").push(column).push(")");
        sql.push(" ORDER BY ts DESC, seq DESC LIMIT 1 BY tenant, agent, guid LIMIT ").uint(MAX_NODES as u64 + 1);
        let mut lines: Vec<Line> = self.database().all(sql).await?;
        lines.reverse();
        Ok(lines)
    }
}
