//! The table of routes: each operation of the API, once. Router, scope check, rate limits, the OpenAPI document and the
//! test over every endpoint are made from it.

pub(crate) mod alerts;
pub(crate) mod audits;
pub(crate) mod enroll;
pub(crate) mod events;
mod given;
pub(crate) mod hosts;
pub(crate) mod operations;
pub(crate) mod revocations;
pub(crate) mod scan_status;
pub(crate) mod scans;
pub(crate) mod tokens;

use axum::routing::{MethodRouter, delete, get, post};
use beffroi_schema::control::ApiScope;
use schemars::{Schema, SchemaGenerator};

use crate::ask::{Declared, Operation, Reach, Route, Verb};
use crate::door::{Shared, serve};
use crate::rate::Class;

/// An operation with its types forgotten.
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) input: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) answer: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) method: fn() -> MethodRouter<Shared>,
}

impl Entry {
    fn of<O: Operation>() -> Self {
        Self {
            route: O::ROUTE,
            input: |generator| generator.subschema_for::<O::Input>(),
            answer: |generator| generator.subschema_for::<O::Answer>(),
            method: || match O::ROUTE.verb {
                Verb::Get => get(serve::<O>),
                Verb::Post => post(serve::<O>),
                Verb::Delete => delete(serve::<O>),
            },
        }
    }
}

macro_rules! routes {
    ($($verb:ident $path:literal $operation:ty, $name:literal, $scope:ident, $reach:ident, $class:ident, $summary:literal;)*) => {
        $(impl Declared for $operation {
            const ROUTE: Route = Route {
                verb: Verb::$verb,
                path: $path,
                name: $name,
                scope: ApiScope::$scope,
                reach: Reach::$reach,
                class: Class::$class,
                summary: $summary,
            };
        })*

        /// Every operation, in the order of the table.
        pub(crate) fn table() -> Vec<Entry> {
            vec![$(Entry::of::<$operation>()),*]
        }
    };
}

// method, path, operation, its name, least scope, whose rows, rate class, summary
routes! {
    Get "/v1/alerts" alerts::List, "alerts.list", Analyst, Tenants, Read, "Alerts, newest first";
    Get "/v1/alerts/tail" alerts::Tail, "alerts.tail", Analyst, Tenants, Read, "Alerts as they come: a long poll";
    Get "/v1/alerts/{id}" alerts::Show, "alerts.show", Analyst, Tenants, Read, "One alert, whole";
    Get "/v1/alerts/{id}/around" alerts::Around, "alerts.around", Analyst, Tenants, Search, "Events of an alert's host around its time";
    Post "/v1/events/search" events::Search, "events.search", Analyst, Tenants, Search, "Search, count or group events";
    Get "/v1/processes/{guid}/tree" events::Tree, "processes.tree", Analyst, Tenants, Search, "The tree of a process";
    Get "/v1/hosts" hosts::List, "hosts.list", Analyst, Tenants, Read, "Hosts, latest heard of first";
    Get "/v1/hosts/{id}" hosts::Show, "hosts.show", Analyst, Tenants, Read, "One host";
    Post "/v1/hosts/{id}/revoke" hosts::Revoke, "hosts.revoke", Admin, Tenants, Change, "Cut a host off";
    Get "/v1/gaps" operations::Gaps, "gaps.list", Analyst, Tenants, Read, "Where nobody watched";
    Get "/v1/scans" scans::List, "scans.list", Analyst, Tenants, Read, "Scans, newest first";
    Post "/v1/scans" scans::Create, "scans.create", Csirt, Tenants, Change, "Give a signed scan order to the fleet";
    Get "/v1/scans/{id}" scans::Show, "scans.show", Analyst, Tenants, Read, "How a scan stands, host by host";
    Get "/v1/scans/{id}/results" scans::Results, "scans.results", Analyst, Tenants, Read, "What a scan found";
    Post "/v1/scans/{id}/cancel" scans::Cancel, "scans.cancel", Csirt, Tenants, Change, "End a scan by a signed cancellation";
    Post "/v1/revocations" revocations::Publish, "revocations.publish", Admin, Every, Change, "Hand a signed revocation of operators' keys down";
    Post "/v1/enroll/tokens" enroll::Create, "enroll.create", Admin, Tenants, Change, "Make an enrolment token";
    Get "/v1/enroll/tokens" enroll::List, "enroll.list", Admin, Tenants, Read, "Enrolment tokens";
    Get "/v1/enroll/tokens/{id}" enroll::Show, "enroll.show", Admin, Tenants, Read, "One enrolment token";
    Delete "/v1/enroll/tokens/{id}" enroll::Revoke, "enroll.revoke", Admin, Tenants, Change, "Revoke an enrolment token";
    Post "/v1/tokens" tokens::Create, "tokens.create", Admin, Tenants, Change, "Make a personal token";
    Get "/v1/tokens" tokens::List, "tokens.list", Admin, Tenants, Read, "Personal tokens";
    Delete "/v1/tokens/{id}" tokens::Revoke, "tokens.revoke", Admin, Tenants, Change, "Revoke a personal token";
    Get "/v1/audit" audits::List, "audit.list", Admin, Tenants, Search, "Who did what, newest first";
    Get "/v1/whoami" operations::Whoami, "whoami", Analyst, Nobody, Read, "Whose token this is";
    Get "/v1/status" operations::Status, "status", Analyst, Nobody, Read, "How everything stands";
    Get "/v1/openapi.json" operations::Document, "openapi", Analyst, Nobody, Read, "This document";
    Get "/metrics" operations::Metrics, "metrics", Analyst, Every, Read, "Metrics of the process that answers (Prometheus text)";
}
