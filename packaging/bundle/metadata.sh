#!/usr/bin/env bash
# What cargo knows of the workspace on the platform that the packages are for; fetches nothing beyond Cargo.lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec "${CARGO:-cargo}" metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu
